"""What a ranker knows besides the blend's sources: acts of users, facts of items, item-item models, other users.

All of it is made of daily interactions (`covisitation.daily_interactions`), of tonight or of an earlier date.
"""

from collections.abc import Mapping
from functools import partial
from typing import Protocol

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import BASKET, ITEM_KNN, NEXT_BASKET
from recsys_batch.contracts.config.night import Covisitation
from recsys_batch.contracts.evidence import RECENT_DAYS, WINDOWS
from recsys_batch.spark.retrieval.covisitation import covisitation_neighbors

_NO_END = 1_000_000

# Item-item model -> least distance of its pairs in days, and how they are counted.
PAIRS_OF: Mapping[str, tuple[int, Covisitation]] = {
    # Whatever a user acted on, in any order.
    ITEM_KNN: (0, Covisitation(max_distance=_NO_END, distance_decay=1.0, backward=1.0, neighbor_power=0.5)),
    # On one day.
    BASKET: (0, Covisitation(max_distance=0, distance_decay=1.0, backward=1.0, neighbor_power=0.5)),
    # On a later day, never the other way round.
    NEXT_BASKET: (1, Covisitation(max_distance=5, distance_decay=0.7, backward=0.0, neighbor_power=0.3)),
}


class CountPairs(Protocol):
    """Maps user sequences to partial sums of pair weights."""

    def __call__(self, sequences: DataFrame, *, config: Covisitation, nearest: int) -> DataFrame:
        """Count the pairs that are at least `nearest` steps apart."""


def aged_by_places(daily: DataFrame) -> DataFrame:
    """Return the same with `age_days` counted in places from each user's newest act (0), ties by item index."""
    newest = Window.partitionBy("user_id").orderBy(F.desc("event_time"), "item_index")
    return daily.withColumn("age_days", (F.row_number().over(newest) - 1).cast("double"))


def user_acts(daily: DataFrame, max_acts: int) -> DataFrame:
    """Return one row a user: `acts` (item indices, newest first), `act_ages`, `act_weights`, `act_bought`."""
    newest = Window.partitionBy("user_id").orderBy("age_days", "item_index")
    kept = daily.withColumn("place", F.row_number().over(newest)).where(F.col("place") <= max_acts)
    entries = F.array_sort(
        F.collect_list(
            F.struct(
                "place",
                F.col("item_index").cast("int").alias("item"),
                F.col("age_days").cast("float").alias("age"),
                F.col("type_weight").cast("float").alias("weight"),
                "bought",
            )
        )
    )
    return (
        kept.groupBy("user_id")
        .agg(entries.alias("e"))
        .select(
            "user_id",
            F.col("e.item").alias("acts"),
            F.col("e.age").alias("act_ages"),
            F.col("e.weight").alias("act_weights"),
            F.col("e.bought").alias("act_bought"),
        )
    )


def item_facts(daily: DataFrame) -> DataFrame:
    """Return one row an item: users by window (`users_7`, ...), buyers, first and last act (days ago), repeats.

    `repeaters`: users who acted on it on several days; `interval_days`: the sum of their mean days between.
    """
    pairs = daily.groupBy("item_index", "user_id").agg(
        F.min("age_days").alias("last"),
        F.max("age_days").alias("first"),
        F.count("*").alias("days"),
        F.max("bought").alias("bought"),
    )
    several = F.col("days") > 1
    return pairs.groupBy("item_index").agg(
        *(F.count_if(F.col("last") < days).cast("double").alias(f"users_{name}") for name, days in WINDOWS.items()),
        F.count_if("bought").cast("double").alias("buyers"),
        F.max("first").alias("first_act"),
        F.min("last").alias("last_act"),
        F.count_if(several).cast("double").alias("repeaters"),
        F.sum(F.when(several, (F.col("first") - F.col("last")) / (F.col("days") - 1)).otherwise(0.0)).alias(
            "interval_days"
        ),
    )


def item_neighbors(daily: DataFrame, count_pairs: CountPairs, neighbors: int) -> dict[str, DataFrame]:
    """Return the item-item models by name, each (item, neighbor, weight) as `covisitation_neighbors` has it.

    `count_pairs` maps sequences to pairs by settings and a least distance.
    """
    by_day = daily.withColumn("event_time", F.col("day").cast("timestamp"))
    made = {}
    for name, (nearest, settings) in PAIRS_OF.items():
        wanted = settings.model_copy(update={"neighbors": neighbors})
        pairs = covisitation_neighbors(by_day, partial(count_pairs, config=wanted, nearest=nearest), wanted)
        made[name] = pairs.where("weight > 0 AND item != neighbor")
    return made


def reference_users(daily: DataFrame, number: int) -> DataFrame:
    """Return (user_id, item_index, weight) of the `number` users who acted last, ties by user id.

    An act counts exp(-age / RECENT_DAYS) of its type's weight, the acts of a user and item together at most 1.
    """
    latest = daily.groupBy("user_id").agg(F.min("age_days").alias("latest")).orderBy("latest", "user_id").limit(number)
    decayed = F.col("type_weight") * F.exp(-F.col("age_days") / RECENT_DAYS)
    return (
        daily.join(latest.select("user_id"), "user_id", "left_semi")
        .groupBy("user_id", "item_index")
        .agg(F.least(F.sum(decayed), F.lit(1.0)).alias("weight"))
    )
