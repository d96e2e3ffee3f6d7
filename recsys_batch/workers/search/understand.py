"""Reads queries by the night's catalog: corrected words, terms to look for, brands, models and the likely category."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from recsys_batch.contracts.config.search import Search
from recsys_batch.contracts.schemas import UNDERSTOOD
from recsys_batch.rules.search.entities import Brands
from recsys_batch.rules.search.spelling import Speller
from recsys_batch.rules.search.understanding import FoundBy, Understood, understand
from recsys_batch.rules.search.words import make_stem
from recsys_batch.rules.sparse_rows import strongest
from recsys_batch.workers.ragged import windows
from recsys_batch.workers.search.index import SearchIndex, read_search_index

# What a query is about is what its first results are.
_VOTES = 50


@dataclass(frozen=True)
class UnderstandQueries:
    """Column `query` -> `schemas.UNDERSTOOD`, one row a query."""

    search_folder: str
    config: Search
    query_block: int
    output_schema: pa.Schema = field(default=UNDERSTOOD, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Understand the partition's queries, a block at a time."""
        reader = _Reader(read_search_index(self.search_folder), self.config)
        for window in windows(batches, self.query_block):
            yield reader.read(window.column("query").to_pylist())


@dataclass(frozen=True, eq=False)
class _Reader:
    index: SearchIndex
    config: Search

    @cached_property
    def _stem(self):  # type: ignore[no-untyped-def]
        return make_stem(self.config.language)

    @cached_property
    def _speller(self) -> Speller:
        return Speller(self.index.word_counts, self.config.spelling)

    @cached_property
    def _brands(self) -> Brands:
        counts = Counter(self.index.brands.drop_null().to_pylist())
        return Brands(sorted(counts, key=lambda name: (-counts[name], name)))

    def read(self, queries: list[str]) -> pa.RecordBatch:
        """Return what is understood of the queries."""
        read = [understand(query, self.index, self._stem, self._speller) for query in queries]
        found = self.index.score(
            [[term.term for term in each.terms] for each in read],
            [[term.weight for term in each.terms] for each in read],
        )
        first = strongest(found, _VOTES)
        rows = []
        for place, (query, each) in enumerate(zip(queries, read, strict=True)):
            category, share = self._category(first.indices[first.indptr[place] : first.indptr[place + 1]])
            num_items = int(found.indptr[place + 1] - found.indptr[place])
            rows.append(
                {
                    "query": query,
                    "searched": " ".join(each.words) if each.corrections else query,
                    "language": each.language,
                    "corrections": [{"word": word, "becomes": becomes} for word, becomes in each.corrections],
                    "unknown": each.unknown,
                    "models": each.models,
                    "brands": self._brands.named_in(each.words),
                    "category": category,
                    "category_share": share,
                    "found_by": self._found_by(each, num_items),
                    "known_share": self._known_share(each),
                    "num_items": num_items,
                    "terms": [term.term for term in each.terms],
                    "term_weights": [term.weight for term in each.terms],
                    "term_words": [term.word for term in each.terms],
                    "term_needed": [term.is_needed for term in each.terms],
                }
            )
        return pa.RecordBatch.from_pylist(rows, schema=UNDERSTOOD)

    def _category(self, items: np.ndarray) -> tuple[str | None, float]:
        """Return the category of most of the items, and its share of them; none of them may have one."""
        codes_I, names = self.index.coded_categories
        counts = np.bincount(codes_I[items][codes_I[items] >= 0], minlength=1)
        if not counts.any():
            return None, 0.0
        return names[int(counts.argmax())], float(counts.max() / items.size)

    def _found_by(self, read: Understood, num_items: int) -> FoundBy:
        if not num_items:
            return "nothing"
        if read.by_characters:
            return "characters"
        return "all_words" if not read.unknown and self._are_together(read) else "some_words"

    def _known_share(self, read: Understood) -> float:
        """Return which share of what the query asks for the catalog knows at all; single characters know little."""
        needed = [term for term in read.terms if term.is_needed]
        known = sum(term.weight for term in needed if self.index.holders(term.term).size)
        return known / max(sum(max(term.weight, 0.5) for term in needed), 1e-9) if needed else 0.0

    def _are_together(self, read: Understood) -> bool:
        """Whether an item holds everything that the query asks for; one is enough to call it found."""
        lists = sorted((self.index.holders(term.term) for term in read.terms if term.is_needed), key=len)
        together = lists[0] if lists else np.zeros(0, dtype=np.int32)
        for holders in lists[1:]:
            together = np.intersect1d(together, holders, assume_unique=True)
        return bool(together.size)
