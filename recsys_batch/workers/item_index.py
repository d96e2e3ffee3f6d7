"""The catalog as a scoring worker sees it: vectors, eligibility, popularity and neighbor lists, by item index."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pads
import scipy.sparse as sp

from recsys_batch.contracts.filesystem import open_folder
from recsys_batch.rules.blend import rank_order

FloatMatrix = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ItemIndex:
    """I items in the order of their index. The arrays are shared by all tasks of the process: read only."""

    item_ids: pa.Array
    titles: pa.Array
    category_codes_I: npt.NDArray[np.int64]
    """Code of the capped category, -1 where an item has none."""
    eligible_I: npt.NDArray[np.bool_]
    popularity_I: FloatMatrix
    vectors_ID: FloatMatrix
    neighbors_II: sp.csr_matrix
    """Co-visitation weights: row item -> neighbor."""

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
    items = _read(f"{folder}/items").sort_by("item_index")
    num_items = items.num_rows
    if not np.array_equal(items["item_index"].to_numpy(), np.arange(num_items)):
        raise ValueError(f"{folder}/items: item_index is not dense from 0 to {num_items - 1}; write the index again")
    if items["vector"].null_count:
        raise ValueError(
            f"{folder}/items: {items['vector'].null_count} item(s) without a vector; encode the catalog again"
        )
    # A copy: torch refuses to share arrays that Arrow owns and marks read-only.
    vectors_ID = np.array(items["vector"].combine_chunks().flatten(), dtype=np.float32).reshape(num_items, -1)
    codes = items["category_key"].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    pairs = _read(f"{folder}/covisitation")
    rows, columns = pairs["item"].to_numpy(), pairs["neighbor"].to_numpy()
    neighbors_II = sp.csr_matrix((pairs["weight"].to_numpy(), (rows, columns)), shape=(num_items, num_items))
    neighbors_II.sort_indices()
    return ItemIndex(
        item_ids=items["item_id"].combine_chunks(),
        titles=items["title"].combine_chunks(),
        category_codes_I=codes.astype(np.int64),
        eligible_I=np.array(items["eligible"], dtype=bool),
        popularity_I=items["popularity"].to_numpy().astype(np.float32),
        vectors_ID=vectors_ID,
        neighbors_II=neighbors_II,
    )


def _read(uri: str) -> pa.Table:
    system, path = open_folder(uri)
    return pads.dataset(path, filesystem=system, format="parquet").to_table()
