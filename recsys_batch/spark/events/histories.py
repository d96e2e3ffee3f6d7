"""User histories: one row a known user, made of the interactions of the date."""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import EVENT_TYPE_CODES
from recsys_batch.contracts.config.prepare import Prepare

_NO_ITEMS = "ARRAY<INT>"
_NO_FLOATS = "ARRAY<FLOAT>"
_NO_CODES = "ARRAY<TINYINT>"


def user_histories(interactions: DataFrame, prepare: Prepare) -> DataFrame:
    """Return one row a known user: `history` (item indices, newest first), weights, event type codes, `bought`.

    A known user has any used event in the window. The history holds the last `history_length` distinct items with a
    positive weight; an item's weight is log(1 + sum of its interactions' weights), so that forty views of one item do
    not drown the rest, and its code is that of its strongest event type. `bought` holds every item with a purchase
    that no return took back.
    """
    codes: Column = F.lit(0)
    for name, code in EVENT_TYPE_CODES.items():
        codes = F.when(F.col("event_type") == name, F.lit(code)).otherwise(codes)
    pairs = (
        interactions.where("item_index IS NOT NULL AND weight > 0")
        .groupBy("user_id", "item_index")
        .agg(
            F.log1p(F.sum("weight")).cast("float").alias("weight"),
            F.max("event_time").alias("last_time"),
            F.max(F.struct("type_weight", codes.alias("code")))["code"].cast("tinyint").alias("code"),
        )
    )
    newest_first = Window.partitionBy("user_id").orderBy(F.desc("last_time"), "item_index")
    kept = pairs.withColumn("place", F.row_number().over(newest_first)).where(F.col("place") <= prepare.history_length)
    entries = F.array_sort(F.collect_list(F.struct("place", "item_index", "weight", "code", "last_time")))
    histories = kept.groupBy("user_id").agg(entries.alias("entries"))
    bought = (
        interactions.where("event_type = 'purchase' AND NOT undone")
        .groupBy("user_id")
        .agg(F.array_sort(F.collect_set("item_index")).alias("bought"))
    )
    known = interactions.select("user_id").distinct()
    return (
        known.join(histories, "user_id", "left")
        .join(bought, "user_id", "left")
        .select(
            "user_id",
            F.coalesce("entries.item_index", F.array().cast(_NO_ITEMS)).alias("history"),
            F.coalesce("entries.weight", F.array().cast(_NO_FLOATS)).alias("history_weights"),
            F.coalesce("entries.code", F.array().cast(_NO_CODES)).alias("history_codes"),
            F.coalesce("entries.last_time", F.array().cast("ARRAY<TIMESTAMP>")).alias("history_times"),
            F.coalesce("bought", F.array().cast(_NO_ITEMS)).alias("bought"),
        )
    )
