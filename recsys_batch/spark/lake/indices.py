"""Stable dense indices: an external id gets a number once and keeps it, whichever nights see it.

`id_indices` holds one row an id and kind. New ids are appended after the last index by one compare-and-swap commit:
a MERGE that inserts nothing where any index at or after the first new one exists. So of two runs that read the same
last index one appends, and the other reads again.
"""

from typing import Literal

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import RecsysBatchError
from recsys_batch.spark.lake.tables import Lake, is_conflict

IdKind = Literal["item", "user"]


def assign_indices(lake: Lake, kind: IdKind, ids: DataFrame, max_attempts: int = 10) -> DataFrame:
    """Return (id, index) of every distinct id in the column `id` of `ids`, numbering those that have no index yet.

    Indices are dense from 0 over all ids ever asked for; new ones follow in the order of the id. Null ids are left
    out. An attempt fails only where another run's succeeds, so ten suffice for as many runs at once.
    Raises RecsysBatchError where all attempts fail.
    """
    asked = ids.where("id IS NOT NULL").select("id").distinct()
    held = asked.persist()
    try:
        if lake.create(Tables.ID_INDICES, _numbered(held, kind, 0), ("kind",)):
            return asked.join(_stored(lake, kind), "id")
        for _ in range(max_attempts):
            num_missing, first = count_missing(lake, kind, held)
            if not num_missing or append_indices(lake, kind, held, first):
                return asked.join(_stored(lake, kind), "id")
    finally:
        held.unpersist()
    raise RecsysBatchError(
        f"{Tables.ID_INDICES}: other runs appended {kind} indices during each of {max_attempts} attempts to number "
        f"this run's new ids ({lake.path(Tables.ID_INDICES)}); run again when they are done"
    )


def count_missing(lake: Lake, kind: IdKind, ids: DataFrame) -> tuple[int, int]:
    """Return how many of the distinct `ids` have no index, and the index that the kind's next new id gets."""
    asked = ids.select("id", F.lit(True).alias("asked"))
    both = _stored(lake, kind).join(asked, "id", "full")
    row = both.agg(F.count_if(F.col("asked") & F.col("index").isNull()), F.max("index")).first()
    num_missing, last = row if row is not None else (0, None)
    return int(num_missing), 0 if last is None else int(last) + 1


def append_indices(lake: Lake, kind: IdKind, ids: DataFrame, first: int) -> bool:
    """Number the distinct `ids` that have no index from `first` on, unless an index from `first` on exists already.

    `first` must come from `count_missing`, called before this. Returns whether any row was inserted: then all were.
    Else another run's commit came first, or no id was without an index.
    """
    # Read after `first` was: ids that another run appended in between are either missing here no more, or its
    # indices stop the merge below.
    missing = _missing(lake, kind, ids)
    numbered = _numbered(missing, kind, first)
    target = DeltaTable.forPath(lake.spark, lake.path(Tables.ID_INDICES)).alias("t")
    # The literals keep writers of different kinds out of each other's way, and spare files where statistics are asked.
    taken = f"t.kind = '{kind}' AND t.index >= {first} AND s.kind = t.kind"
    try:
        done = target.merge(numbered.alias("s"), taken).whenNotMatchedInsertAll().execute().first()
    except (PySparkException, Py4JJavaError) as error:
        if not is_conflict(error):
            raise
        return False
    return done is not None and done["num_inserted_rows"] > 0


def _numbered(ids: DataFrame, kind: IdKind, first: int) -> DataFrame:
    # One sort of one narrow column in one task: a million ids take seconds, and each id's index hangs on all others.
    place = F.row_number().over(Window.orderBy("id"))
    return ids.select(F.lit(kind).alias("kind"), "id", (place + F.lit(first - 1)).cast("int").alias("index"))


def _stored(lake: Lake, kind: IdKind) -> DataFrame:
    return lake.read(Tables.ID_INDICES).where(F.col("kind") == kind).select("id", "index")


def _missing(lake: Lake, kind: IdKind, ids: DataFrame) -> DataFrame:
    return ids.join(_stored(lake, kind), "id", "left_anti")
