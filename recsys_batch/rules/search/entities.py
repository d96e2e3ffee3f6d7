"""Brands that a query names, by the catalog's own list."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from recsys_batch.rules.search.words import is_run, words_of

_LONGEST = 4
# One character of a run is no name.
_SHORTEST_RUN = 2


class Brands:
    """Finds the catalog's brands in the words of a query."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the brands as the catalog writes them; of several spellings the first is the one that is told."""
        self._names: dict[tuple[str, ...], str] = {}
        for name in names:
            self._names.setdefault(tuple(words_of(name)), name)

    def named_in(self, words: Sequence[str]) -> list[str]:
        """Return the brands that stand in the words one after another, or within a run; the longest at each place."""
        found: dict[str, None] = {}
        at = 0
        while at < len(words):
            size = next((s for s in range(_LONGEST, 0, -1) if tuple(words[at : at + s]) in self._names), 0)
            if size:
                found[self._names[tuple(words[at : at + size])]] = None
            elif is_run(words[at]):
                found |= dict.fromkeys(name for run, name in self._runs.items() if run in words[at])
            at += max(size, 1)
        return list(found)

    @cached_property
    def _runs(self) -> Mapping[str, str]:
        return {
            words[0]: name
            for words, name in self._names.items()
            if len(words) == 1 and is_run(words[0]) and len(words[0]) >= _SHORTEST_RUN
        }
