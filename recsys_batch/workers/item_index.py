"""The catalog as a scoring worker sees it: vectors, eligibility, popularity and neighbor lists, by row.

Rows are the run's items in the order of item_id, so that ties broken by row are broken by item_id. Everything outside
names items by their stable `item_index`, of which one night's catalog may have any; `ItemIndex.finder` translates.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from recsys_batch.contracts.filesystem import read_parquet
from recsys_batch.rules.blend import rank_order

FloatMatrix = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RowFinder:
    """Finds the rows of items by their stable index."""

    item_indices_I: IntArray
    """Stable indices, ascending."""
    rows_I: IntArray
    """The row of each."""

    @classmethod
    def over(cls, item_indices_I: IntArray) -> "RowFinder":
        """Return the finder of items whose stable indices are given by row."""
        rows_I = np.argsort(item_indices_I)
        return cls(item_indices_I[rows_I], rows_I)

    def find(self, item_indices: IntArray) -> IntArray:
        """Return the row of each stable index, -1 for one that is not in the run's catalog."""
        places = np.searchsorted(self.item_indices_I, item_indices)
        places[places == self.item_indices_I.size] = 0
        return np.where(self.item_indices_I[places] == item_indices, self.rows_I[places], -1)


@dataclass(frozen=True, eq=False)
class ItemIndex:
    """I items in the order of item_id. The arrays are shared by all tasks of the process: read only."""

    item_ids: pa.Array
    item_indices_I: IntArray
    """Stable index of each row's item."""
    finder: RowFinder
    titles: pa.Array
    category_codes_I: IntArray
    """Code of the capped category, -1 where an item has none."""
    brand_codes_I: IntArray
    """Code of the brand, -1 where an item has none."""
    eligible_I: npt.NDArray[np.bool_]
    popularity_I: FloatMatrix
    vectors_ID: FloatMatrix
    neighbors_II: sp.csr_matrix
    """Co-visitation weights: row of the item -> row of the neighbor."""

    @property
    def num_items(self) -> int:
        """Number of items, eligible or not."""
        return len(self.item_ids)

    @cached_property
    def popular(self) -> npt.NDArray[np.intp]:
        """Eligible items with any popularity, the most popular first; sorted once, read for every profile."""
        ranked = rank_order(self.popularity_I, np.arange(self.num_items))
        return ranked[self.eligible_I[ranked] & (self.popularity_I[ranked] > 0)]


# Two: a worker that outlives its run may serve the next one before the old index is dropped.
@lru_cache(maxsize=2)
def read_item_index(folder: str) -> ItemIndex:
    """Read the index that the night wrote; once per process and folder, as a run's index never changes."""
    items = read_parquet(f"{folder}/items").sort_by("item_id")
    num_items = items.num_rows
    for column in ("item_id", "item_index", "vector"):
        _refuse_nulls(folder, items, column)
    for column in ("item_id", "item_index"):
        _refuse_repeats(folder, items, column)
    # A copy: torch refuses to share arrays that Arrow owns and marks read-only.
    vectors_ID = np.array(items["vector"].combine_chunks().flatten(), dtype=np.float32).reshape(num_items, -1)
    item_indices_I = items["item_index"].to_numpy().astype(np.int64)
    finder = RowFinder.over(item_indices_I)
    return ItemIndex(
        item_ids=items["item_id"].combine_chunks(),
        item_indices_I=item_indices_I,
        finder=finder,
        titles=items["title"].combine_chunks(),
        category_codes_I=_codes(items["category_key"]),
        brand_codes_I=_codes(items["brand"]),
        eligible_I=np.array(items["eligible"], dtype=bool),
        popularity_I=items["popularity"].to_numpy().astype(np.float32),
        vectors_ID=vectors_ID,
        neighbors_II=read_pairs(f"{folder}/covisitation", finder),
    )


def read_pairs(folder: str, finder: RowFinder) -> sp.csr_matrix:
    """Return the weights in a folder of (item, neighbor, weight): row of the item -> row of the neighbor."""
    pairs = read_parquet(folder)
    rows, columns = (finder.find(pairs[side].to_numpy()) for side in ("item", "neighbor"))
    # Interactions may name items that have left the catalog.
    known = (rows >= 0) & (columns >= 0)
    num_items = finder.rows_I.size
    neighbors_II = sp.csr_matrix(
        (pairs["weight"].to_numpy()[known], (rows[known], columns[known])), shape=(num_items, num_items)
    )
    neighbors_II.sort_indices()
    return neighbors_II


@lru_cache(maxsize=2)
def read_boosts(folder: str, index_folder: str) -> FloatMatrix:
    """Return the boost of each row's item (I,), 0 where it has none; `folder` has (item_index, boost)."""
    index, given = read_item_index(index_folder), read_parquet(folder)
    boosts_I = np.zeros(index.num_items, dtype=np.float32)
    rows = index.finder.find(given["item_index"].to_numpy().astype(np.int64))
    boosts_I[rows[rows >= 0]] = given["boost"].to_numpy()[rows >= 0]
    return boosts_I


def _codes(texts: pa.ChunkedArray) -> IntArray:
    codes = texts.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    return np.asarray(codes, dtype=np.int64)


def _refuse_nulls(folder: str, items: pa.Table, column: str) -> None:
    if nulls := items[column].null_count:
        advice = "encode the catalog again" if column == "vector" else "write the index again"
        raise ValueError(f"{folder}/items: {nulls} item(s) without a {column}; {advice}")


def _refuse_repeats(folder: str, items: pa.Table, column: str) -> None:
    counts = pc.value_counts(items[column].combine_chunks())
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        value, count = repeated[0]["values"].as_py(), repeated[0]["counts"].as_py()
        raise ValueError(
            f"{folder}/items: {column} {value!r} stands in {count} rows, and {len(repeated)} {column}(s) in several; "
            "an item has one row and one index of its own: write the index again"
        )
