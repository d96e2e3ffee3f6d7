"""How unexpected the items of lists are, given who had which item before: novelty, tail, repeats, serendipity.

All take `history`: key and item_id of earlier interactions. Duplicates count once, so an item's popularity is the
number of keys that had it.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.spark.evaluation.lists import (
    check_ks,
    distinct_pairs,
    place_targets,
)


def measure_novelty(
    lists: DataFrame,
    history: DataFrame,
    *,
    ks: Sequence[int] = (10,),
    key: str = "user_id",
    head_share: float = 0.8,
    num_partitions: int | None = None,
) -> DataFrame:
    """Return one row a key of `lists`: the means over its first k items of what history says of them.

    - novelty: log2(num_keys / popularity), where an item that nobody had counts as had by one (Zhou et al., 2010;
      RecTools MeanInvUserFreq);
    - surprisal: the same divided by log2(num_keys), so that it lies between 0 and 1 (RePlay Surprisal);
    - self_information: -log2 of the item's share of all interactions, at least one (Vargas and Castells, 2011);
    - popularity: the number of keys that had the item (RecTools AvgRecPopularity);
    - tail: whether the item is outside the head, the most popular items that have `head_share` of all interactions
      among them; items of equal popularity are all in the head or all outside (Abdollahpouri et al., 2019);
    - repeat: whether the key had the item before.
    """
    check_ks(ks)
    if not 0 < head_share < 1:
        raise ValueError(f"head_share must lie between 0 and 1, not {head_share}")
    pairs = distinct_pairs(history, key)
    # Both sides are laid out by key, so the join that finds repeats shuffles lists once.
    listed = place_targets(lists, pairs, key=key, num_partitions=num_partitions).where(F.col("place") <= max(ks))
    known = listed.join(_popularity(pairs, head_share), "item_id", "left")
    num_keys = pairs.select(F.count_distinct(key).alias("_num_keys"), F.count("*").alias("_num_pairs"))
    rows = known.crossJoin(F.broadcast(num_keys))
    popularity = F.coalesce("popularity", F.lit(0))
    at_least_one = F.greatest(popularity, F.lit(1))
    novelty = F.log2(F.col("_num_keys") / at_least_one)
    of_item = {
        "novelty": novelty,
        "surprisal": novelty / F.log2("_num_keys"),
        "self_information": F.log2(F.col("_num_pairs") / at_least_one),
        "popularity": popularity,
        "tail": (~F.coalesce("is_head", F.lit(False))).cast("int"),
        "repeat": F.col("grade").isNotNull().cast("int"),
    }
    return rows.groupBy(key).agg(*_means(of_item, ks))


def measure_serendipity(
    lists: DataFrame,
    targets: DataFrame,
    history: DataFrame,
    num_items: int,
    *,
    ks: Sequence[int] = (10,),
    key: str = "user_id",
    num_partitions: int | None = None,
) -> DataFrame:
    """Return one row a key of `lists`: serendipity of its first k items as RecTools defines it.

    The mean of max((popularity rank - place) / num_items, 0) over relevant items, 0 for the others. The most popular
    items have popularity rank 1, those of the next lower popularity 2, and so on; an item that nobody had counts as
    num_items + 1. `num_items` is the size of the catalog. Raises ValueError where that is below 1.
    """
    check_ks(ks)
    if num_items < 1:
        raise ValueError(f"num_items must be the size of the catalog, not {num_items}")
    listed = place_targets(lists, targets, key=key, num_partitions=num_partitions).where(F.col("place") <= max(ks))
    pairs = distinct_pairs(history, key)
    counts = pairs.groupBy("item_id").agg(F.count("*").alias("popularity"))
    levels = counts.select("popularity").distinct()
    ranks = levels.withColumn("popularity_rank", F.row_number().over(Window.orderBy(F.desc("popularity"))))
    ranked = listed.join(counts.join(F.broadcast(ranks), "popularity"), "item_id", "left")
    ahead = (F.coalesce("popularity_rank", F.lit(num_items + 1)) - F.col("place")) / num_items
    gain = F.when(F.col("grade") > 0, F.greatest(ahead, F.lit(0.0))).otherwise(0.0)
    return ranked.groupBy(key).agg(*_means({"serendipity": gain}, ks))


def _popularity(pairs: DataFrame, head_share: float) -> DataFrame:
    """Return (item_id, popularity, is_head) of distinct pairs."""
    counts = pairs.groupBy("item_id").agg(F.count("*").alias("popularity"))
    # One row a popularity, of which there are few: only these are ordered in one place.
    levels = counts.groupBy("popularity").agg(F.sum("popularity").alias("interactions"))
    above = Window.orderBy(F.desc("popularity")).rowsBetween(Window.unboundedPreceding, -1)
    everything = Window.partitionBy()
    before = F.coalesce(F.sum("interactions").over(above), F.lit(0)) / F.sum("interactions").over(everything)
    return counts.join(F.broadcast(levels.select("popularity", (before < head_share).alias("is_head"))), "popularity")


def _means(of_item: dict[str, Column], ks: Sequence[int]) -> list[Column]:
    return [
        F.avg(F.when(F.col("place") <= k, value)).alias(f"{name}@{k}")
        for name, value in of_item.items()
        for k in dict.fromkeys(ks)
    ]
