"""Spelling by the catalog's own words: the nearest by letters put in, left out, replaced or swapped (SymSpell)."""

from collections.abc import Mapping
from functools import cached_property

from symspellpy import SymSpell, Verbosity

from recsys_batch.contracts.config.search import Spelling
from recsys_batch.rules.search.words import has_digit, is_run

MOST_EDITS = 2
# Halves of a word that was typed without its blank.
_SHORTEST_HALF = 3


class Speller:
    """Finds words of the catalog that an unknown word may stand for."""

    def __init__(self, counts: Mapping[str, int], settings: Spelling) -> None:
        """Take the catalog's words, each with the number of items that hold it, and which lengths may be mended."""
        self._counts = counts
        self._settings = settings

    def nearest(self, word: str, most: int) -> list[str]:
        """Return the catalog's words at the least distance from the word, of at most so many edits.

        The most frequent come first, then the alphabet. None for a word that is too short for any edit, that has a
        digit, or of a script without blanks.
        """
        edits = min(self._edits(word), most)
        if not edits:
            return []
        found = self._words.lookup(word, Verbosity.CLOSEST, max_edit_distance=edits)
        return [each.term for each in sorted(found, key=lambda each: (each.distance, -each.count, each.term))]

    def halves(self, word: str) -> tuple[str, str] | None:
        """Return the two words of the catalog that the word is made of, the rarer one as frequent as can be."""
        if not self._settings.enabled or has_digit(word) or is_run(word):
            return None
        cuts = range(_SHORTEST_HALF, len(word) - _SHORTEST_HALF + 1)
        pairs = [(word[:at], word[at:]) for at in cuts if word[:at] in self._counts and word[at:] in self._counts]
        return max(pairs, key=lambda pair: min(self._counts[half] for half in pair), default=None)

    def _edits(self, word: str) -> int:
        settings = self._settings
        if not settings.enabled or has_digit(word) or is_run(word) or len(word) < settings.one_edit_from:
            return 0
        return MOST_EDITS if len(word) >= settings.two_edits_from else 1

    @cached_property
    def _words(self) -> SymSpell:
        # Most nights know every word: made when the first unknown one comes.
        made = SymSpell(max_dictionary_edit_distance=MOST_EDITS)
        for word, count in self._counts.items():
            if not has_digit(word) and not is_run(word):
                made.create_dictionary_entry(word, count)
        return made
