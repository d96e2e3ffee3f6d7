"""Events: raw log lines get one status each; the used ones become weighted interactions."""

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import EVENT_TYPES, Inputs
from recsys_batch.contracts.prepare_config import Prepare
from recsys_batch.spark.normalize import canonical_id, normalized_query
from recsys_batch.spark.quarantine import FILTERED, OUTSIDE_WINDOW, STATUS, USED
from recsys_batch.spark.sources import KEPT

# JSON rounds times to milliseconds unless told otherwise; two events a microsecond apart are two.
_JSON = {"ignoreNullFields": "false", "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}


def classify_events(events: DataFrame, items: DataFrame, ds: date, prepare: Prepare) -> DataFrame:
    """Give every raw event row exactly one `status`: used, filtered, outside_window, or a quarantine reason.

    `events` comes from `sources.read_table`; `items` is the clean catalog with item_id and item_index. Ids are
    canonical, queries normalized. Of duplicates (same event_id, else all columns equal) the same one is always used.
    """
    columns = list(Inputs.TYPES["events"])
    case = prepare.id_case
    canonical = events.select(
        *(
            canonical_id(c, case).alias(c)
            if c in ("user_id", "item_id")
            else normalized_query("query").alias(c)
            if c == "query"
            else F.lower(F.trim("event_type")).alias(c)
            if c == "event_type"
            else F.col(c)
            for c in columns
        ),
        KEPT,
    )
    end = ds + timedelta(days=1)
    start = end - timedelta(days=prepare.lookback_days)
    faulty = (
        F.when(~F.col(KEPT), FILTERED)
        .when(F.col("event_type").isNull(), "missing_event_type")
        .when(~F.col("event_type").isin(*EVENT_TYPES), "unknown_event_type")
        .when(F.col("event_time").isNull(), "missing_event_time")
        .when((F.col("event_time") < F.lit(start)) | (F.col("event_time") >= F.lit(end)), OUTSIDE_WINDOW)
        .when(F.col("user_id").isNull(), "missing_user_id")
        .when(F.col("item_id").isNull() & (F.col("event_type") != "search"), "missing_item_id")
    )
    checked = canonical.withColumn(STATUS, faulty)
    row_key = F.coalesce(F.concat(F.lit("id:"), "event_id"), F.sha2(F.to_json(F.struct(*columns), _JSON), 256))
    copies = Window.partitionBy(STATUS, "_row_key").orderBy(*(F.col(c).asc_nulls_last() for c in columns))
    ranked = checked.withColumn("_row_key", row_key).withColumn("_copy", F.row_number().over(copies))
    known = items.select("item_id", F.col("item_index"))
    joined = ranked.join(known, "item_id", "left")
    status = (
        F.when(F.col(STATUS).isNotNull(), F.col(STATUS))
        .when(F.col("_copy") > 1, "duplicate")
        .when(F.col("item_index").isNull() & F.col("item_id").isNotNull(), "unknown_item")
        .otherwise(USED)
    )
    return joined.withColumn(STATUS, status).select(*columns, "item_index", STATUS)


def weigh_interactions(events: DataFrame, ds: date, prepare: Prepare) -> DataFrame:
    """Add `undone` (a return took the purchase back), `age_days`, `type_weight` and `weight` to the used events.

    A pair of user and item whose returned quantity reaches the bought quantity has its purchases undone. The type's
    weight is nothing for undone purchases and ratings below `min_rating`; `weight` halves it every `half_life_days`.
    """
    pair = Window.partitionBy("user_id", "item_index")
    quantity = F.abs(F.coalesce("quantity", F.lit(1.0)))
    bought = F.sum(F.when(F.col("event_type") == "purchase", quantity)).over(pair)
    returned = F.sum(F.when(F.col("event_type") == "return", quantity)).over(pair)
    undone = (F.col("event_type") == "purchase") & F.coalesce(returned >= bought, F.lit(False))
    end = F.lit(ds + timedelta(days=1)).cast("timestamp")
    age_days = (F.unix_micros(end) - F.unix_micros("event_time")) / F.lit(86_400_000_000.0)
    type_weight: Column = F.lit(0.0)
    for event_type, weight in sorted(prepare.event_weights.items()):
        type_weight = F.when(F.col("event_type") == event_type, F.lit(float(weight))).otherwise(type_weight)
    disliked = (F.col("event_type") == "rating") & (F.col("rating") < prepare.min_rating)
    return (
        events.withColumn("undone", undone)
        .withColumn("age_days", age_days)
        .withColumn(
            "type_weight", F.when(F.col("undone") | F.coalesce(disliked, F.lit(False)), 0.0).otherwise(type_weight)
        )
        .withColumn("weight", F.col("type_weight") * F.pow(F.lit(0.5), F.col("age_days") / prepare.half_life_days))
    )
