"""Lists side by side with their targets: one row a key and item, with the place of the item in its list.

Knows no metric.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

# Columns that are made beside the key.
_TAKEN = ("item_id", "rank", "score", "grade", "place", "hits")


def check_columns(frame: DataFrame, name: str, columns: Sequence[str]) -> None:
    """Raise ValueError where the frame lacks one of the columns; `name` says in the message which frame it is."""
    if lacking := [column for column in columns if column not in frame.columns]:
        raise ValueError(f"{name} lacks the columns {', '.join(lacking)}; it has {', '.join(frame.columns)}")


def check_ks(ks: Sequence[int]) -> None:
    """Raise ValueError where no list length is given or one is below 1."""
    if not ks or min(ks) < 1:
        raise ValueError(f"ks must be list lengths from 1 on, not {tuple(ks)}")


def place_items(lists: DataFrame, *, key: str = "user_id", num_partitions: int | None = None) -> DataFrame:
    """Return (key, item_id, place) of `lists` (key, item_id, rank, score or not), places 1, 2, ... without gaps.

    An item that a list holds twice keeps its best rank and its best score. Equal ranks are ordered by score, highest
    first, then by item_id. Rows without key, item or rank are left out.
    """
    rows = _list_rows(lists, key)
    merged = (
        _shuffled(rows, key, num_partitions)
        .groupBy(key, "item_id")
        .agg(F.min("rank").alias("rank"), F.max("score").alias("score"))
    )
    return merged.select(key, "item_id", F.row_number().over(_in_order(key)).alias("place"))


def place_targets(
    lists: DataFrame, targets: DataFrame, *, key: str = "user_id", num_partitions: int | None = None
) -> DataFrame:
    """Return one row for each item that a key has in its list, among its targets or in both.

    Columns: key, item_id; place and score in the list (see `place_items`; both null where it is not in the list);
    grade (null where it is no target); hits, the number of relevant items (grade above 0) up to that place.
    A target's grade is the column `grade` of `targets`, 1 without the column or where it is null; of several rows of a
    key and item the highest counts. Keys without targets are still there. Everything is shuffled once, by key.
    """
    check_columns(targets, "targets", (key, "item_id"))
    grade = F.coalesce(F.col("grade").cast("double"), F.lit(1.0)) if "grade" in targets.columns else F.lit(1.0)
    wanted = targets.where(F.col(key).isNotNull() & F.col("item_id").isNotNull()).select(
        key,
        "item_id",
        F.lit(None).cast("int").alias("rank"),
        F.lit(None).cast("double").alias("score"),
        grade.alias("grade"),
    )
    rows = _list_rows(lists, key).withColumn("grade", F.lit(None).cast("double")).unionByName(wanted)
    # A group by of both, not a join: that would shuffle the rows again, by key and item.
    merged = (
        _shuffled(rows, key, num_partitions)
        .groupBy(key, "item_id")
        .agg(F.min("rank").alias("rank"), F.max("score").alias("score"), F.max("grade").alias("grade"))
    )
    in_order = _in_order(key)
    so_far = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    is_listed = F.col("rank").isNotNull()
    return merged.select(
        key,
        "item_id",
        F.when(is_listed, F.row_number().over(in_order)).alias("place"),
        F.when(is_listed, F.col("score")).alias("score"),
        "grade",
        F.sum(F.when(is_listed & (F.col("grade") > 0), 1).otherwise(0)).over(so_far).alias("hits"),
    )


def discount(place: Column) -> Column:
    """Return 1 / log2(place + 1): how much a place counts in DCG, and how much it is seen in measures of exposure."""
    return 1.0 / F.log2(place + 1.0)


def distinct_pairs(history: DataFrame, key: str) -> DataFrame:
    """Return the distinct (key, item_id) of a frame without null ones."""
    check_columns(history, "history", (key, "item_id"))
    return history.where(F.col(key).isNotNull() & F.col("item_id").isNotNull()).select(key, "item_id").distinct()


def _list_rows(lists: DataFrame, key: str) -> DataFrame:
    if key in _TAKEN:
        raise ValueError(f"the key cannot be {key}, a column that lists have or get; rename it")
    check_columns(lists, "lists", (key, "item_id", "rank"))
    score = F.col("score") if "score" in lists.columns else F.lit(None)
    present = F.col(key).isNotNull() & F.col("item_id").isNotNull() & F.col("rank").isNotNull()
    return lists.where(present).select(
        key, "item_id", F.col("rank").cast("int").alias("rank"), score.cast("double").alias("score")
    )


def _shuffled(rows: DataFrame, key: str, num_partitions: int | None) -> DataFrame:
    return rows.repartition(key) if num_partitions is None else rows.repartition(num_partitions, key)


def _in_order(key: str) -> WindowSpec:
    return Window.partitionBy(key).orderBy(
        F.col("rank").asc_nulls_last(), F.col("score").desc_nulls_last(), F.col("item_id")
    )
