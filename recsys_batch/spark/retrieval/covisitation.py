"""Co-visitation: which items follow or accompany each other in the users' own order of events; and popularity."""

from collections.abc import Callable

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.config.night import Covisitation


def daily_interactions(interactions: DataFrame) -> DataFrame:
    """Return one row a user, item and day: its strongest `type_weight`, first `event_time`, and whether it was bought.

    A view, a click and a purchase of one item within a day are one sign of interest, not three neighbors of each other.
    """
    weighted = interactions.where("item_index IS NOT NULL AND type_weight > 0")
    return weighted.groupBy("user_id", "item_index", F.to_date("event_time").alias("day")).agg(
        F.max("type_weight").alias("type_weight"),
        F.min("event_time").alias("event_time"),
        F.min("age_days").alias("age_days"),
        F.max((F.col("event_type") == "purchase") & ~F.col("undone")).alias("bought"),
    )


def user_sequences(daily: DataFrame, history_length: int) -> DataFrame:
    """Return one row a user: the last `history_length` items, each with its step (rank of its time) and weight."""
    newest = Window.partitionBy("user_id").orderBy(F.desc("event_time"), "item_index")
    steps = Window.partitionBy("user_id").orderBy("event_time")
    kept = daily.withColumn("_place", F.row_number().over(newest)).where(F.col("_place") <= history_length)
    # The rank must stand in a column before it can be collected.
    ranked = kept.withColumn("step", F.dense_rank().over(steps))
    entries = F.array_sort(
        F.collect_list(F.struct("step", "item_index", F.col("type_weight").cast("double").alias("weight")))
    )
    return (
        ranked.groupBy("user_id")
        .agg(entries.alias("e"))
        .select(
            F.col("e.item_index").alias("items"), F.col("e.step").alias("steps"), F.col("e.weight").alias("weights")
        )
    )


def covisitation_neighbors(
    daily: DataFrame, count_pairs: Callable[[DataFrame], DataFrame], config: Covisitation
) -> DataFrame:
    """Return (item, neighbor, weight): the `neighbors` strongest of each item, ties by item index.

    `count_pairs` maps the sequences to partial sums of pair weights. A sum is divided by
    `(number of the item's daily interactions + shrinkage) ** count_power`, and likewise by the neighbor's count to the
    `neighbor_power`.
    """
    partial = count_pairs(user_sequences(daily, config.history_length))
    sums = partial.groupBy("item", "neighbor").agg(F.sum("weight").alias("sum"))
    counts = daily.groupBy(F.col("item_index").alias("item")).agg(F.count("*").alias("n"))
    others = counts.select(F.col("item").alias("neighbor"), F.col("n").alias("m"))
    normalized = (
        F.col("sum")
        / F.pow(F.col("n") + config.shrinkage, F.lit(config.count_power))
        / F.pow(F.col("m") + config.shrinkage, F.lit(config.neighbor_power))
    )
    strongest = Window.partitionBy("item").orderBy(F.desc("weight"), "neighbor")
    return (
        sums.join(counts, "item")
        .join(others, "neighbor")
        .select("item", "neighbor", normalized.alias("weight"))
        .withColumn("place", F.row_number().over(strongest))
        .where(F.col("place") <= config.neighbors)
        .select("item", "neighbor", "weight")
    )


def popularity(daily: DataFrame, half_life_days: float) -> DataFrame:
    """Return (item_index, popularity): log(1 + sum of the weights, halved every `half_life_days`)."""
    recent = F.col("type_weight") * F.pow(F.lit(0.5), F.col("age_days") / half_life_days)
    return daily.groupBy("item_index").agg(F.log1p(F.sum(recent)).alias("popularity"))
