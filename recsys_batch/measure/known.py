"""What was known at the end of a date, as a prepared run has it, numbered for the baselines."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import sparse

from recsys_batch.contracts.columns import Tables
from recsys_batch.rules.baselines.log import Indices, Log, Mask
from recsys_batch.spark.evaluation.segments import language_of
from recsys_batch.spark.lake.prepared import read_prepared
from recsys_batch.spark.lake.tables import Lake

# Acts that the driver takes; a larger log is thinned by users.
MAX_ACTS = 20_000_000
Ids = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Known:
    """The acts up to a date, with the names behind the numbers."""

    counted: Log
    """Acts of the types that count as a hit."""
    all_acts: Log
    """Acts of every type that the config gives a weight."""
    keys_K: Ids
    items_I: Ids
    """Canonical items, in the order of their ids."""
    eligible_I: Mask

    def numbers_of_keys(self, names: Ids) -> Indices:
        """Return the number of each name; -1 for one that is not known."""
        return _numbers(self.keys_K, names)

    def numbers_of_items(self, names: Ids) -> Indices:
        """Return the number of each canonical item; -1 for one that is not known."""
        return _numbers(self.items_I, names)

    def targets(self, keys: Ids, items: Ids) -> sparse.csr_array:
        """Return 1 where a known key has a known item, shape (K, I)."""
        keys_T, items_T = _numbers(self.keys_K, keys), _numbers(self.items_I, items)
        both = (keys_T >= 0) & (items_T >= 0)
        shape = (len(self.keys_K), len(self.items_I))
        found = sparse.coo_array((np.ones(int(both.sum())), (keys_T[both], items_T[both])), shape=shape).tocsr()
        found.data[:] = 1.0
        return found


def canonical_items(lake: Lake, ds: date, run_id: str) -> DataFrame:
    """Return the run's catalog, one row a product: item_index, item_id, eligible."""
    items = read_prepared(lake, Tables.ITEMS, ds, run_id).where("item_index = canonical_index")
    return items.select("item_index", "item_id", "eligible")


def groups_of_items(lake: Lake, ds: date, run_id: str) -> DataFrame:
    """Return what groups the run's items: item_index, canonical_index, item_id, language (of the title), category.

    The category is the first level of its path; null where there is none.
    """
    top_level = F.trim(F.element_at(F.split("category", ">"), 1)).alias("category")
    items = read_prepared(lake, Tables.ITEMS, ds, run_id)
    return items.select(
        "item_index", "canonical_index", "item_id", language_of(F.col("title")).alias("language"), top_level
    )


def read_known(lake: Lake, ds: date, run_id: str, event_types: Sequence[str]) -> Known:
    """Return what the prepared run of `ds` knows; of more than `MAX_ACTS` acts those of users by hash."""
    items = canonical_items(lake, ds, run_id)
    catalog = items.select("item_id", "eligible").orderBy("item_id").toArrow()
    items_I = names_of(catalog["item_id"])
    acts = read_prepared(lake, Tables.INTERACTIONS, ds, run_id).where("NOT undone AND type_weight > 0")
    named = acts.join(items.select("item_index", F.col("item_id").alias("product")), "item_index")
    rows = named.select("user_id", "product", "age_days", F.col("event_type").isin(*event_types).alias("counts"))
    rows = _thinned(rows, rows.count() / MAX_ACTS).toArrow()
    keys_K, keys_E = np.unique(names_of(rows["user_id"]), return_inverse=True)
    items_E = _numbers(items_I, names_of(rows["product"]))
    ages_E = np.maximum(rows["age_days"].to_numpy(), 0.0)
    whole = Log(keys_E.astype(np.int64), items_E, ages_E, len(keys_K), len(items_I))
    counted = whole.where(rows["counts"].to_numpy(zero_copy_only=False).astype(np.bool_))
    return Known(counted, whole, keys_K, items_I, catalog["eligible"].to_numpy(zero_copy_only=False).astype(np.bool_))


def _thinned(rows: DataFrame, times_too_many: float) -> DataFrame:
    if times_too_many <= 1:
        return rows
    return rows.where(F.pmod(F.xxhash64(F.lit(1), F.col("user_id")), F.lit(10_000)) < int(10_000 / times_too_many))


def names_of(column: pa.ChunkedArray) -> Ids:
    """Return the ids of a column, in its order."""
    return np.asarray(column.to_pylist(), dtype=object)


def _numbers(sorted_names: Ids, names: Ids) -> Indices:
    if not len(sorted_names):
        return np.full(len(names), -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(sorted_names, names), len(sorted_names) - 1)
    return np.where(sorted_names[places] == names, places, -1).astype(np.int64)
