"""Interactions: used events with what became of them (taken back, late) and how much they say (weight)."""

from datetime import date, timedelta

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType

from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.rules.returns import match_returns
from recsys_batch.spark.events.rows import EVENT_KEY


@F.arrow_udf(ArrayType(DoubleType()))  # type: ignore[attr-defined, untyped-decorator]
def _matched(is_return: pa.Array, quantities: pa.Array) -> pa.Array:
    rows = zip(is_return.to_pylist(), quantities.to_pylist(), strict=True)
    return pa.array([match_returns(*row) for row in rows], pa.list_(pa.float64()))


def match_undoings(events: DataFrame) -> DataFrame:
    """Return (EVENT_KEY, user_id, matched) of all purchases and returns of a user and item with a return.

    `matched` is the quantity of a purchase that was taken back, and of a return that a purchase was found for
    (`rules.returns.match_returns`). The same for favorites and their removal, which takes back all before it.
    """
    family = F.when(F.col("event_type").isin("purchase", "return"), "order").when(
        F.col("event_type").isin("favorite", "unfavorite"), "favorite"
    )
    takes_back = F.col("event_type").isin("return", "unfavorite")
    quantity = (
        F.when(F.col("event_type") == "unfavorite", float("inf"))
        .when(F.col("event_type") == "favorite", 1.0)
        .otherwise(F.abs(F.coalesce("quantity", F.lit(1.0))))
    )
    rows = events.where(family.isNotNull() & F.col("item_index").isNotNull()).select(
        "user_id",
        "item_index",
        family.alias("family"),
        F.struct("event_time", takes_back.alias("takes_back"), EVENT_KEY, quantity.alias("quantity")).alias("row"),
    )
    group = ["user_id", "item_index", "family"]
    undone = rows.where("row.takes_back").select(*group).distinct()
    listed = rows.join(undone, group, "left_semi").groupBy(*group).agg(F.array_sort(F.collect_list("row")).alias("r"))
    matched = listed.withColumn("matched", _matched("r.takes_back", "r.quantity"))
    zipped = F.explode(F.arrays_zip(F.col(f"r.{EVENT_KEY}").alias("key"), F.col("matched").alias("matched")))
    return matched.select("user_id", zipped.alias("z")).select(
        "user_id", F.col("z.key").alias(EVENT_KEY), F.col("z.matched").alias("matched")
    )


def weigh_interactions(events: DataFrame, matched: DataFrame, ds: date, prepare: Prepare) -> DataFrame:
    """Add what became of the used events (`match_undoings`), and their weight.

    `undone`: a purchase that returns took back whole, or a favorite that the user removed later. `matched_quantity`: of
    purchases, what was taken back; of returns, what was bought before; else null. `late`: received more than
    `late_after_hours` after it happened. The type's weight is nothing for undone events and ratings below
    `min_rating`; `weight` halves it every `half_life_days`.
    """
    joined = events.join(matched.withColumnRenamed("matched", "matched_quantity"), ["user_id", EVENT_KEY], "left")
    quantity = F.when(F.col("event_type") == "favorite", 1.0).otherwise(F.abs(F.coalesce("quantity", F.lit(1.0))))
    taken_back = (F.col("matched_quantity") > 0) & (F.col("matched_quantity") >= quantity)
    undone = F.col("event_type").isin("purchase", "favorite") & taken_back
    end = F.lit(ds + timedelta(days=1)).cast("timestamp")
    age_days = (F.unix_micros(end) - F.unix_micros("event_time")) / F.lit(86_400_000_000.0)
    lag_hours = (F.unix_micros("received_at") - F.unix_micros("event_time")) / F.lit(3_600_000_000.0)
    disliked = (F.col("event_type") == "rating") & (F.col("rating") < prepare.min_rating)
    return (
        joined.withColumn("undone", F.coalesce(undone, F.lit(False)))
        .withColumn("late", F.coalesce(lag_hours > prepare.late_after_hours, F.lit(False)))
        .withColumn("age_days", age_days)
        .withColumn(
            "type_weight",
            F.when(F.col("undone") | F.coalesce(disliked, F.lit(False)), 0.0).otherwise(_type_weight(prepare)),
        )
        .withColumn("weight", F.col("type_weight") * F.pow(F.lit(0.5), F.col("age_days") / prepare.half_life_days))
    )


def count_returns(interactions: DataFrame) -> dict[str, int]:
    """Count the returns by whether purchases were found for all, some or none of their quantity, and undone events."""
    quantity = F.abs(F.coalesce("quantity", F.lit(1.0)))
    found = F.coalesce("matched_quantity", F.lit(0.0))
    is_return = F.col("event_type") == "return"
    counts = {
        "returns_matched": is_return & (found >= quantity),
        "returns_partly_matched": is_return & (found > 0) & (found < quantity),
        "returns_unmatched": is_return & (found == 0) & (quantity > 0),
        "purchases_undone": (F.col("event_type") == "purchase") & F.col("undone"),
        "favorites_undone": (F.col("event_type") == "favorite") & F.col("undone"),
        "late_events": F.col("late"),
    }
    row = interactions.agg(*(F.count_if(condition).alias(name) for name, condition in counts.items())).first()
    return row.asDict() if row is not None else {}


def _type_weight(prepare: Prepare) -> Column:
    made: Column = F.lit(0.0)
    for event_type, weight in sorted(prepare.event_weights.items()):
        made = F.when(F.col("event_type") == event_type, F.lit(float(weight))).otherwise(made)
    return made
