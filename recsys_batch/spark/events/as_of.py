"""Interactions as they were known at an earlier date: what a night of that date would have worked on."""

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.spark.events.interactions import match_undoings, weigh_interactions
from recsys_batch.spark.events.rows import EVENT_KEY

# What later events decide; made anew from those that were known.
_MADE_LATE = ("undone", "matched_quantity", "late", "age_days", "type_weight", "weight")


def interactions_as_of(interactions: DataFrame, ds: date, prepare: Prepare) -> DataFrame:
    """Return the interactions that were known at the end of `ds`, with weights, ages and returns as of then.

    An event counts as known from when it was received, where that is given; a purchase that was taken back later
    stands. Times are read in the session's zone, as everywhere in the night.
    """
    end = F.lit(ds + timedelta(days=1)).cast("timestamp")
    known = interactions.where((F.col("event_time") < end) & (F.coalesce("received_at", "event_time") < end))
    # Numbers of rows: the ids of events were only needed to tell repeated rows apart, and are gone.
    rows = known.drop(*_MADE_LATE).withColumn(EVENT_KEY, F.monotonically_increasing_id())
    return weigh_interactions(rows, match_undoings(rows), ds, prepare).drop(EVENT_KEY)
