"""What a block of queries finds in the catalog: by words, by what came of the query before, by category.

Shapes: P profiles, I items, C candidates of one profile.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from recsys_batch.contracts.columns import CATEGORY, POPULARITY, SEARCHERS, WORDS
from recsys_batch.contracts.filesystem import read_parquet
from recsys_batch.rules.blend import rank_order
from recsys_batch.rules.search.combine import trust_of
from recsys_batch.rules.sparse_rows import owners_of, strongest
from recsys_batch.workers.item_index import ItemIndex
from recsys_batch.workers.profiles import Candidates
from recsys_batch.workers.proposals import Proposals, best_open, first_open
from recsys_batch.workers.search.index import read_search_index

FloatArray = npt.NDArray[np.float32]
# Of what words find, what says which categories the query is about, and whether cosines can be believed.
_BEST = 50
# Items that these are held against, evenly out of the catalog.
_ANY = 400
ACTS_AFTER = "searches"
"""Folder below the item index: (query, item, weight), what customers acted on after a query."""


@dataclass(frozen=True, eq=False)
class QueryScores:
    """The scores of all items for P profiles, those without a query at 0."""

    words_PI: sp.csr_array
    best_PI: sp.csr_array
    """What a query's words find best."""
    acts_PI: sp.csr_array
    shares_PK: FloatArray
    """Share of each of K categories in what a query's words find best; the last column, of no category, is 0."""
    categories_I: npt.NDArray[np.int64]
    """Code of each item's category, -1 where it has none."""
    asks_P: npt.NDArray[np.bool_]
    """Whether a profile has a query."""
    says_P: npt.NDArray[np.bool_]
    """Whether the query has a word, known or not."""

    def propose(self, index: ItemIndex, seen_PI: sp.csr_array, number: int) -> dict[str, Proposals]:
        """Return what queries propose: `number` items a query and source, and of popular ones too, sold yet or not."""
        everything = rank_order(index.popularity_I, np.arange(index.num_items))
        return {
            WORDS: best_open(self.words_PI, index, seen_PI, number),
            SEARCHERS: best_open(self.acts_PI, index, seen_PI, number),
            CATEGORY: self._of_category(index, seen_PI, number, everything),
            POPULARITY: _only(first_open(everything, index, seen_PI, number), self.asks_P),
        }

    def category_share(self, candidates: Candidates) -> FloatArray:
        """Return for each candidate the share of its category in what its query's words find best (N,)."""
        return np.asarray(self.shares_PK[candidates.owners, self.categories_I[candidates.items_N]], dtype=np.float32)

    def _of_category(
        self, index: ItemIndex, seen_PI: sp.csr_array, number: int, everything: npt.NDArray[np.intp]
    ) -> Proposals:
        """Return the most popular items of each query's category."""
        best_P = self.shares_PK.argmax(axis=1)
        rows, items = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        known_P = self.asks_P & (self.shares_PK.max(axis=1, initial=0.0) > 0)
        for code in np.unique(best_P[known_P]):
            of_it = np.flatnonzero(known_P & (best_P == code))
            ranked = everything[self.categories_I[everything] == code]
            found, of_items = first_open(ranked, index, seen_PI[of_it], number)
            rows.append(of_it[found])
            items.append(of_items)
        return np.concatenate(rows), np.concatenate(items)


def query_scores(index_folder: str, search_folder: str, index: ItemIndex, profiles: pa.RecordBatch) -> QueryScores:
    """Return what the queries of a batch of `schemas.PROFILES` find.

    Raises ValueError where the search index is of another catalog than the item index.
    """
    search = read_search_index(search_folder)
    if not np.array_equal(search.item_indices_I, index.item_indices_I):
        raise ValueError(f"{search_folder}: the search index is of another catalog than {index_folder}; encode again")
    terms = _lists(profiles.column("terms"))
    words_PI = search.score(
        terms,
        _lists(profiles.column("term_weights")),
    )
    codes_I, categories = search.coded_categories
    best_PI = strongest(words_PI, _BEST)
    return QueryScores(
        words_PI,
        best_PI,
        _acts_after(index_folder, index, profiles.column("query"), profiles.column("searched")),
        _shares(best_PI, codes_I, len(categories)),
        codes_I,
        pc.is_valid(profiles.column("query")).to_numpy(zero_copy_only=False),
        np.array([bool(each) for each in terms], dtype=np.bool_),
    )


def query_evidence(
    scores: QueryScores, index: ItemIndex, candidates: Candidates, vectors_PD: FloatArray, liked_PD: FloatArray
) -> dict[str, FloatArray]:
    """Return what speaks for the candidates (N,), by its column in `schemas.CANDIDATES`.

    `vectors_PD` are those of the queries, `liked_PD` those of the histories, 0 for a profile without.
    """
    owners_N, vectors_ND = candidates.owners, index.vectors_ID[candidates.items_N]
    return {
        "words": candidates.pick(scores.words_PI),
        "meaning": np.einsum("nd,nd->n", vectors_ND, vectors_PD[owners_N]),
        "searchers": candidates.pick(scores.acts_PI),
        "likeness": np.einsum("nd,nd->n", vectors_ND, liked_PD[owners_N]),
        "category_share": scores.category_share(candidates),
    }


def trusts_of(scores: QueryScores, index: ItemIndex, vectors_PD: FloatArray) -> FloatArray:
    """Return how far the cosines of each profile's query can be believed (`rules.search.combine.trust_of`)."""
    anywhere_MD = index.vectors_ID[np.unique(np.linspace(0, index.num_items - 1, _ANY).astype(np.int64))]
    best = scores.best_PI
    # Who asks for nothing that is a word means nothing that a vector could tell.
    trusts = np.where(scores.says_P, 1.0, 0.0).astype(np.float32)
    for row in np.flatnonzero(scores.asks_P & scores.says_P):
        found = best.indices[best.indptr[row] : best.indptr[row + 1]]
        trusts[row] = trust_of(index.vectors_ID[found] @ vectors_PD[row], anywhere_MD @ vectors_PD[row])
    return trusts


def _lists(column: pa.ListArray) -> list[list[Any]]:
    return [each or [] for each in column.to_pylist()]


def _only(proposals: Proposals, wanted_P: npt.NDArray[np.bool_]) -> Proposals:
    rows, items = proposals
    return rows[wanted_P[rows]], items[wanted_P[rows]]


def _shares(best: sp.csr_array, codes_I: npt.NDArray[np.int64], num_categories: int) -> FloatArray:
    """Return (P, K + 1) shares; the last column, where the code -1 of no category leads, is 0."""
    shares_PK = np.zeros((best.shape[0], num_categories + 1), dtype=np.float32)
    np.add.at(shares_PK, (owners_of(best.indptr), codes_I[best.indices]), 1.0)
    shares_PK[:, -1] = 0.0
    return shares_PK / np.maximum(np.diff(best.indptr), 1).astype(np.float32)[:, None]


def _acts_after(index_folder: str, index: ItemIndex, queries: pa.StringArray, searched: pa.StringArray) -> sp.csr_array:
    """Return what came of the same queries before (P, I), as they were typed and as they are spelled."""
    names, starts, items, weights = _read_acts(index_folder, index)
    place = {name: number for number, name in enumerate(names)}
    rows, columns, values = [], [], []
    for row, spellings in enumerate(zip(queries.to_pylist(), searched.to_pylist(), strict=True)):
        for query in {*spellings} & place.keys():
            span = slice(starts[place[query]], starts[place[query] + 1])
            columns.append(items[span])
            values.append(weights[span])
            rows.append(np.full(columns[-1].size, row))
    empty = np.zeros(0, dtype=np.int64)
    made = sp.csr_array(
        (
            np.concatenate([empty, *values]).astype(np.float32),
            (np.concatenate([empty, *rows]), np.concatenate([empty, *columns])),
        ),
        shape=(len(queries), index.num_items),
    )
    made.sum_duplicates()
    return made


@lru_cache(maxsize=2)
def _read_acts(
    folder: str, index: ItemIndex
) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    table = read_parquet(f"{folder}/{ACTS_AFTER}")
    items = index.finder.find(table["item_index"].to_numpy().astype(np.int64))
    table = (
        table.append_column("row", pa.array(items))
        .filter(pa.array(items >= 0))
        .sort_by([("query", "ascending"), ("row", "ascending")])
    )
    names = table["query"].to_pylist()
    first = [at for at, name in enumerate(names) if not at or name != names[at - 1]]
    starts = np.array([*first, len(names)], dtype=np.int64)
    return [names[at] for at in first], starts, table["row"].to_numpy(), table["weight"].to_numpy().astype(np.float32)
