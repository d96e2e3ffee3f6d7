"""Tells who asked for something why an item is in their list: which of their words it has, or what else speaks for it.

Shapes: P profiles, L listed rows of all profiles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_batch.contracts.columns import COVISITATION
from recsys_batch.rules.reasons import POPULAR
from recsys_batch.rules.search.reasons import explain_search, said_words
from recsys_batch.workers.item_index import ItemIndex
from recsys_batch.workers.search.index import read_search_index


@dataclass(frozen=True, eq=False)
class AskedFor:
    """What P profiles ask for, one entry each: the columns of `schemas.SCORED` of these names."""

    query: Sequence[str | None]
    searched: Sequence[str | None]
    terms: Sequence[Sequence[str] | None]
    term_words: Sequence[Sequence[str] | None]
    term_needed: Sequence[Sequence[bool] | None]
    category: Sequence[str | None]

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> "AskedFor | None":
        """Return what a batch of `schemas.SCORED` asks for; None where nobody in it asks for anything."""
        if batch.column("query").null_count == batch.num_rows:
            return None
        return cls(*(batch.column(name).to_pylist() for name in cls.__dataclass_fields__))


class SearchReason(NamedTuple):
    """Kind and text of a reason, and the query that it rests on, if it does."""

    said: tuple[str, str]
    anchor: str | None


def explain_rows(
    index: ItemIndex,
    search_folder: str,
    asked: AskedFor,
    sources_L: Sequence[str],
    owners_L: npt.NDArray[np.integer],
    items_L: npt.NDArray[np.integer],
) -> Iterator[tuple[int, SearchReason]]:
    """Yield (row, reason) of the listed rows whose profile asks for something.

    `sources_L` names the source of most of a row's score; rows that are there for the history of who asks are left to
    whoever explains histories.
    """
    search = read_search_index(search_folder)
    for row, (source, owner, item) in enumerate(zip(sources_L, owners_L.tolist(), items_L.tolist(), strict=True)):
        query = asked.query[owner]
        if query is None or source == COVISITATION:
            continue
        held = [search.holds(term, item) for term in asked.terms[owner] or ()]
        words = said_words(
            query, asked.searched[owner], asked.term_words[owner] or (), asked.term_needed[owner] or (), held
        )
        is_popular = bool(index.popularity_I[item] > 0)
        said = explain_search(source, query, asked.searched[owner], words, asked.category[owner], is_popular)
        yield row, SearchReason(said, None if said[0] == POPULAR else query)
