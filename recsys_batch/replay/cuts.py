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
    days: tuple[date, date] | None = None
    """The first and the last day of what was next, where cuts are made by days."""
    log: DataFrame | None = None
    """All interactions, those after the cut too, where cuts are made by days."""


def cuts_by_days(interactions: DataFrame, ds: date, prepare: Prepare, training: RankerTraining) -> Iterator[Cut]:
    """Yield the cuts `training.step` days apart, each with the acts of the `training.days` days after it."""
    acts = _counted(interactions, training)
    for number in range(training.cuts):
        last = ds - timedelta(days=(training.step or training.days) * number)
        cut = last - timedelta(days=training.days)
        day = F.to_date("event_time")
        wanted = acts.where((day > F.lit(cut)) & (day <= F.lit(last)))
        days = (cut + timedelta(days=1), last)
        known = interactions_as_of(interactions, cut, prepare)
        yield Cut(number, known, wanted, f"{cut}, then to {last}", days, interactions)


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


def requests_between(
    interactions: DataFrame, first: date, last: date, length: int, training: RankerTraining
) -> DataFrame:
    """Return what a user had done before each moment of the days `first` to `last`, in the shape of requests.

    The columns are those of `requests_of`, and `user_id` and `targets`: what the user then acted on. A moment is all
    that a user did at one time; one before which the user did nothing is left out, and one of nothing that counts.
    """
    acts = interactions.where("item_index IS NOT NULL AND type_weight > 0")
    counts = F.col("event_type").isin(*training.event_types) & ~F.col("undone")
    moments = acts.groupBy("user_id", "event_time").agg(
        F.array_sort(F.collect_list(F.struct("item_index", "item_id"))).alias("entries"),
        F.array_sort(F.collect_set(F.when(counts, F.col("item_index")))).alias("targets"),
    )
    # Every moment has an item, so that `length` of them are enough.
    before = Window.partitionBy("user_id").orderBy("event_time").rowsBetween(-length, -1)
    items = F.flatten(F.collect_list("entries.item_id").over(before))
    day = F.to_date("event_time")
    return (
        moments.withColumn("item_ids", items)
        .where((day >= F.lit(first)) & (day <= F.lit(last)) & (F.size("item_ids") > 0) & (F.size("targets") > 0))
        .select(
            F.concat_ws(" ", "user_id", F.unix_micros("event_time")).alias("request_id"),
            F.expr(f"slice(item_ids, greatest(size(item_ids) - {length:d}, 0) + 1, {length:d})").alias("item_ids"),
            F.lit(None).cast("string").alias("query"),
            "user_id",
            "targets",
        )
    )


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
