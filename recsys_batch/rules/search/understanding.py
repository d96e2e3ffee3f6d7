"""What a query asks for, by the catalog's own words: which terms to look for, and what was mended on the way.

Shapes: I items.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from recsys_batch.rules.search.spelling import MOST_EDITS, Speller
from recsys_batch.rules.search.words import (
    Stem,
    has_digit,
    is_run,
    pairs_of,
    parts_of,
    words_of,
)

Items = npt.NDArray[np.integer]
FoundBy = Literal["all_words", "some_words", "characters", "nothing"]
# Single characters of a run say little of it.
_CHARACTER_WEIGHT = 0.3
# A pair of characters that holds together less is not one word, but the end of one and the start of the next.
_FIRM = 0.5


class Postings(Protocol):
    """Which items hold a term."""

    def holders(self, term: str) -> Items:
        """Return the items that hold the term, ascending; none for one that the catalog does not know."""


@dataclass(frozen=True)
class Term:
    """One term to look for: what it counts, and the word of the query (as it is searched) that it stands for."""

    term: str
    weight: float
    word: str
    is_needed: bool = True
    """Whether an item without it lacks something of the query; it does not where the term is but another spelling."""


@dataclass
class Understood:
    """A query as it is searched."""

    language: str
    """`en` for letters, `zh` for scripts without blanks between words, `mixed`; `none` without either."""
    words: list[str] = field(default_factory=list)
    """As they are searched: corrected."""
    corrections: list[tuple[str, str]] = field(default_factory=list)
    """What was typed, and what is searched instead."""
    unknown: list[str] = field(default_factory=list)
    """Words that no item holds, in no spelling that was tried."""
    terms: list[Term] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    """Words with a digit, as model numbers and sizes have; never corrected."""
    by_characters: bool = False
    """Whether a run is looked for by its single characters, as no item holds any pair of it."""


def understand(query: str, catalog: Postings, stem: Stem, speller: Speller) -> Understood:
    """Read a query by the words of the catalog. A word that it knows is never changed."""
    words = words_of(query)
    made = Understood(_language(words))
    for place, word in enumerate(words):
        others = [other for at, other in enumerate(words) if at != place and not is_run(other)]
        if is_run(word):
            _read_run(made, word, catalog)
        else:
            _read_word(made, word, others, catalog, stem, speller)
    _join_neighbors(made, catalog, stem)
    return made


def _language(words: Sequence[str]) -> str:
    runs = [word for word in words if is_run(word)]
    if not words:
        return "none"
    if not runs:
        return "en"
    return "zh" if len(runs) == len(words) else "mixed"


def _read_run(made: Understood, run: str, catalog: Postings) -> None:
    """Look for the pairs of a run, each weighed by how firmly it holds together in the catalog's own texts.

    `苹果手机` is `苹果` and `手机`: `果手` stands in next to no text though its characters do. What share of its rarer
    character's items holds the pair, against the firmest of it and its neighbors.
    """
    made.words.append(run)
    pairs = pairs_of(run)
    numbers = [len(catalog.holders(pair)) for pair in pairs]
    firmness = [
        number / max(1, min(len(catalog.holders(character)) for character in pair))
        for pair, number in zip(pairs, numbers, strict=True)
    ]
    for at, pair in enumerate(pairs):
        if numbers[at]:
            weight = firmness[at] / max(firmness[max(at - 1, 0) : at + 2])
            # The pairs on both sides hold its characters already, and hold them more firmly.
            is_covered = 0 < at < len(pairs) - 1 and min(firmness[at - 1], firmness[at + 1]) >= firmness[at]
            made.terms.append(Term(pair, weight, pair, weight > _FIRM and not is_covered))
    for rest in _not_covered(run, numbers):
        known = [character for character in dict.fromkeys(rest) if len(catalog.holders(character))]
        # Characters of a longer piece are looked for only where there is nothing else to go by.
        if known and (len(rest) == 1 or rest == run):
            made.terms += [Term(character, _CHARACTER_WEIGHT, character) for character in known]
            made.by_characters |= rest == run and len(run) > 1
        if not known or len(rest) > 1:
            made.unknown.append(rest)
            made.terms.append(Term(rest, 1.0, rest))


def _not_covered(run: str, numbers: Sequence[int]) -> list[str]:
    """Return the pieces of a run that no known pair covers; a run of one character is its own pair."""
    covered = [False] * len(run)
    for at, number in enumerate(numbers):
        if number:
            covered[at : at + 2] = [True] * len(run[at : at + 2])
    pieces = "".join(" " if has else character for character, has in zip(run, covered, strict=True))
    return pieces.split()


def _read_word(
    made: Understood, word: str, others: Sequence[str], catalog: Postings, stem: Stem, speller: Speller
) -> None:
    if has_digit(word):
        made.models.append(word)
    parts = parts_of(word)
    joined = parts[-1] if len(parts) > 1 else ""
    found: list[Term] = []
    unknown: list[str] = []
    for part in parts:
        if len(catalog.holders(stem(part))):
            found.append(Term(stem(part), 1.0, part, part != joined))
        elif part != joined:
            pieces = _pieces_of(part, catalog, stem)
            found += [Term(stem(piece), 1.0, piece) for piece in pieces]
            unknown += [] if pieces else [part]
    if found:
        made.words.append(word)
        made.terms += [*found, *(Term(stem(part), 1.0, part) for part in unknown)]
        made.unknown += unknown
        return
    mended = _mend(word, [stem(other) for other in others], catalog, stem, speller)
    made.words += mended or [word]
    if mended:
        made.corrections.append((word, " ".join(mended)))
        made.terms += [Term(stem(each), 1.0, each) for each in mended]
    else:
        made.unknown.append(word)
        made.terms.append(Term(stem(word), 1.0, word))


def _pieces_of(part: str, catalog: Postings, stem: Stem) -> list[str]:
    """Return a word with digits cut where letters meet digits, if the catalog knows both pieces: `p30` and `pro`.

    No letter and no digit changes. Of several cuts the one whose rarer piece is held by most.
    """
    cuts = [at for at in range(1, len(part)) if part[at - 1].isdigit() != part[at].isdigit()]
    best, most = [], 0
    for at in cuts:
        pieces = [part[:at], part[at:]]
        number = min(len(catalog.holders(stem(piece))) for piece in pieces)
        if number > most:
            best, most = pieces, number
    return best


def _mend(word: str, others: Sequence[str], catalog: Postings, stem: Stem, speller: Speller) -> Sequence[str]:
    """Return what the catalog would write: one edit away, else in two words, else further away; nothing: unknown."""
    for edits in range(1, MOST_EDITS + 1):
        if nearest := speller.nearest(word, edits):
            return [_most_wanted(nearest, others, catalog, stem)]
        if edits == 1 and (halves := speller.halves(word)):
            return halves
    return []


def _most_wanted(words: Sequence[str], others: Sequence[str], catalog: Postings, stem: Stem) -> str:
    """Return the word that most items hold together with another word of the query; the first where none does."""
    together = []
    for word in words:
        holders = catalog.holders(stem(word))
        together.append(sum(len(np.intersect1d(holders, catalog.holders(other))) for other in others))
    return words[int(np.argmax(together))]


def _join_neighbors(made: Understood, catalog: Postings, stem: Stem) -> None:
    """Look for `headset` too where the query is `head set` and more items hold the one than the other two."""
    for left, right in zip(made.words[:-1], made.words[1:], strict=True):
        joined = left + right
        if not joined.isalpha() or is_run(left) or is_run(right):
            continue
        holders = len(catalog.holders(stem(joined)))
        if not holders:
            continue
        apart = np.intersect1d(catalog.holders(stem(left)), catalog.holders(stem(right)))
        if holders > len(apart):
            made.terms.append(Term(stem(joined), 1.0, joined, is_needed=False))
