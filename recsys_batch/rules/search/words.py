"""Words of a text, and the terms that they are searched by. Unicode all the way; takes time linear in the text.

A term is a word's stem or, in scripts that put no blank between words, a pair of characters or a single one. A model
number is a word of its own: `WH-1000XM4` is searched by `wh`, `1000xm4` and `wh1000xm4`.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

import Stemmer

from recsys_batch.rules.texts.clean import stream_safe
from recsys_batch.rules.texts.documents import CJK

Stem = Callable[[str], str]
_WORD = re.compile(rf"[{CJK}]+|[^\W_{CJK}]+(?:[-./'’][^\W_{CJK}]+)*")
_INNER = re.compile(r"[-./'’]")
_RUN = re.compile(r"[^\W\d_]+|\d+")
# A number with its unit, or a name with its number: 500ml, rtx2060, iphone7plus.
_UNITS = re.compile(r"\d+[^\W\d_]{2,}|[^\W\d_]{3,}\d+([^\W\d_]{2,})?")
_FIRST_CJK = re.compile(f"[{CJK}]")
_DIGIT = re.compile(r"\d")


def words_of(text: str) -> list[str]:
    """Return the words in their order: lower case, without accents; characters without blanks between stay one run."""
    folded = unicodedata.normalize("NFKD", stream_safe(text).casefold())
    plain = "".join(c for c in folded if not unicodedata.combining(c) or c > "\u036f")
    return _WORD.findall(unicodedata.normalize("NFKC", plain))


def is_run(word: str) -> bool:
    """Whether the word is a run of characters of a script that puts no blank between words."""
    return bool(_FIRST_CJK.match(word))


def has_digit(word: str) -> bool:
    """Whether the word holds a digit, as model numbers and sizes do."""
    return bool(_DIGIT.search(word))


def parts_of(word: str) -> list[str]:
    """Return the parts of a compound that is no run: at inner marks, and the whole joined where there are several."""
    parts = _INNER.split(word)
    return [*parts, "".join(parts)] if len(parts) > 1 else parts


def pairs_of(run: str) -> list[str]:
    """Return the pairs of neighboring characters of a run, or the character of a run of one."""
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]


def split_units(part: str) -> list[str]:
    """Return `128` and `gb` of `128gb`; nothing of a model number such as `p30` or `1000xm4`."""
    return _RUN.findall(part) if _UNITS.fullmatch(part) else []


def document_terms(text: str, stem: Stem) -> list[str]:
    """Return the terms that an item's field is found by, repeats included."""
    terms: list[str] = []
    for word in words_of(text):
        if is_run(word):
            # Single characters too: they tell how firmly a pair holds together, and find what its pairs do not.
            terms += [*word, *pairs_of(word)] if len(word) > 1 else [word]
            continue
        for part in parts_of(word):
            terms.append(stem(part))
            terms += map(stem, split_units(part))
    return terms


def make_stem(language: str) -> Stem:
    """Return a stemmer that remembers; `none` stems nothing. Takes time in proportion to distinct words."""
    if language == "none":
        return str
    return lru_cache(maxsize=200_000)(Stemmer.Stemmer(language).stemWord)
