"""Cuts: what was known at an earlier point, and what customers wanted next."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.contracts.config.ranker import RankerTraining
from recsys_batch.spark.events.as_of import interactions_as_of


@dataclass(frozen=True)
class Cut:
    """One point in the log; the newest has the number 0."""

    number: int
    known: DataFrame
    """Interactions, as a night at the cut would have prepared them."""
    wanted: DataFrame
    """user_id, item_index: what the user acted on next."""
    describe: str


def cuts_by_days(interactions: DataFrame, ds: date, prepare: Prepare, training: RankerTraining) -> Iterator[Cut]:
    """Yield the cuts `training.days` apart, each with the acts of the days after it."""
    acts = _counted(interactions, training)
    for number in range(training.cuts):
        cut, last = (ds - timedelta(days=training.days * back) for back in (number + 1, number))
        day = F.to_date("event_time")
        wanted = acts.where((day > F.lit(cut)) & (day <= F.lit(last)))
        yield Cut(number, interactions_as_of(interactions, cut, prepare), wanted, f"{cut}, then to {last}")


def cuts_by_last_acts(interactions: DataFrame, training: RankerTraining) -> Iterator[Cut]:
    """Yield cuts at which every user's last act, last but one, and so on, is still to come; for logs without a clock.

    An act is one on an item and day. Acts at one time are in the order of their items.
    """
    day = F.to_date("event_time")
    acts = _counted(interactions, training).select("user_id", "item_index", "event_time", day.alias("day"))
    newest = Window.partitionBy("user_id").orderBy(F.desc("event_time"), F.desc("item_index"))
    distinct = acts.groupBy("user_id", "item_index", "day").agg(F.max("event_time").alias("event_time"))
    placed = distinct.withColumn("place", F.row_number().over(newest)).drop("event_time").persist()
    for number in range(training.cuts):
        wanted = placed.where(F.col("place") == number + 1).select("user_id", "item_index")
        later = placed.where(F.col("place") <= number + 1).select("user_id", "item_index", "day")
        known = interactions.withColumn("day", day).join(later, ["user_id", "item_index", "day"], "left_anti")
        yield Cut(number, known.drop("day"), wanted, f"without the last {number + 1} of each user")


def _counted(interactions: DataFrame, training: RankerTraining) -> DataFrame:
    counts = F.col("event_type").isin(*training.event_types) & ~F.col("undone") & F.col("item_index").isNotNull()
    return interactions.where(counts).select("user_id", "item_index", "event_time")


def requests_of(known: DataFrame, length: int) -> DataFrame:
    """Return the users' known acts in the shape of requests: request_id, item_ids (the newest `length`, oldest first).

    What requests hold are histories, so that those of users teach how to go on from one.
    """
    newest = Window.partitionBy("user_id").orderBy(F.desc("event_time"), F.desc("item_index"))
    acts = known.where("item_index IS NOT NULL AND type_weight > 0")
    kept = acts.withColumn("place", F.row_number().over(newest)).where(F.col("place") <= length)
    entries = F.sort_array(F.collect_list(F.struct("place", "item_id")), asc=False)
    return (
        kept.groupBy("user_id")
        .agg(entries.alias("entries"))
        .select(
            F.col("user_id").alias("request_id"),
            F.col("entries.item_id").alias("item_ids"),
            F.lit(None).cast("string").alias("query"),
        )
    )
