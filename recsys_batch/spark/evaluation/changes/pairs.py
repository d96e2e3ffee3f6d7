"""The rows of two sides of one list table next to each other, and how much the list of every key differs.

Knows no lake. A side's rows are those of `list_rows`, its catalog has item_id, item_index, title, category, eligible.
"""

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Lists
from recsys_batch.contracts.list_changes import KeyChange

# A key with a list on both sides, in a frame of `pair_keys`.
ON_BOTH = "num_before > 0 AND num_now > 0"


def list_rows(published: DataFrame, table: str) -> DataFrame:
    """Return the rows of a list table under names that hold for all of them, `kind` being that of the reason."""
    return published.select(
        F.col(Lists.KEY[table]).alias("key"),
        F.col(Lists.ITEM[table]).alias("item_id"),
        *("rank", "sources", F.col("reason.kind").alias("kind"), "model_version"),
    )


def pair_rows(before: DataFrame, now: DataFrame) -> DataFrame:
    """Return one row for each key and item that either side lists: key, item_id, rank_before, rank_now (null: not in
    that list) and the model versions model_before and model_now. Everything is shuffled once, by key.
    """
    none = F.lit(None)
    sides = (
        ("key", "item_id", F.col("rank"), none.cast("int"), F.col("model_version"), none.cast("string")),
        ("key", "item_id", none.cast("int"), F.col("rank"), none.cast("string"), F.col("model_version")),
    )
    rows = before.select(*sides[0]).union(now.select(*sides[1]))
    named = rows.toDF("key", "item_id", "rank_before", "rank_now", "model_before", "model_now")
    # A group by, not a join: that would shuffle by key and item first.
    merged = (F.min(column).alias(column) for column in named.columns[2:])
    return named.repartition("key").groupBy("key", "item_id").agg(*merged)


def pair_keys(pairs: DataFrame) -> DataFrame:
    """Return one row a key: the items num_before and num_now of its lists, num_common on both sides, num_in_place at
    the same rank, and the model versions of the lists.
    """
    common = F.col("rank_before").isNotNull() & F.col("rank_now").isNotNull()
    return pairs.groupBy("key").agg(
        F.count("rank_before").alias("num_before"),
        F.count("rank_now").alias("num_now"),
        F.count_if(common).alias("num_common"),
        F.count_if(F.col("rank_before") == F.col("rank_now")).alias("num_in_place"),
        F.max("model_before").alias("model_before"),
        F.max("model_now").alias("model_now"),
    )


def pair_catalogs(before: DataFrame, now: DataFrame) -> DataFrame:
    """Return one row an item of either catalog: item_id, item_index, title, category (the newer ones), and whether it
    could be recommended, was_eligible and is_eligible.
    """
    columns = ("item_id", "item_index", "title", "category", "eligible")
    left, right = before.select(*columns).alias("b"), now.select(*columns).alias("n")
    return left.join(right, F.col("b.item_id") == F.col("n.item_id"), "full_outer").select(
        *(F.coalesce(f"n.{column}", f"b.{column}").alias(column) for column in columns[:-1]),
        F.coalesce("b.eligible", F.lit(False)).alias("was_eligible"),
        F.coalesce("n.eligible", F.lit(False)).alias("is_eligible"),
    )


def change_figures() -> list[Column]:
    """Return the aggregates of a frame of `pair_keys` that `change_of` reads."""
    on_both = F.expr(ON_BOTH)
    longer = F.greatest("num_before", "num_now")
    same_items, in_place = F.col("num_common") == longer, F.col("num_in_place") == longer
    return [
        F.count_if(on_both).alias("keys"),
        F.count_if(on_both & in_place).alias("unchanged"),
        F.count_if(on_both & same_items & ~in_place).alias("reordered"),
        F.avg(F.when(on_both, F.col("num_common") / longer)).alias("common_share"),
    ]


def change_of(row: Row) -> KeyChange:
    """Return what a row of `change_figures` says."""
    share = float("nan") if row.common_share is None else float(row.common_share)
    return KeyChange(int(row["keys"]), int(row.unchanged), int(row.reordered), share)
