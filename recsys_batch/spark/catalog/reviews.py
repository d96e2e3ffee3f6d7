"""Reviews: raw rows get one status each."""

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.spark.inputs.normalize import canonical_id, canonical_user, cleaned, is_placeholder
from recsys_batch.spark.inputs.notes import NOTES
from recsys_batch.spark.inputs.quarantine import FILTERED, OUTSIDE_WINDOW, STATUS, USED
from recsys_batch.spark.inputs.sources import KEPT


def classify_reviews(
    reviews: DataFrame, items: DataFrame, prepare: Prepare, ds: date, key: bytes | None = None
) -> DataFrame:
    """Give every raw review a `status`; ids canonical, texts cleaned of markup.

    A review of a later date than `ds` is outside the window. Of the rows of one user, item and text the earliest is
    used; reviews without a user repeat each other only where rating and time are equal too. `items` has item_id; `key`
    is what `pseudonyms.read_key` gave, where `prepare.pseudonymize_with` asks for pseudonyms.
    """
    columns = list(Inputs.TYPES["reviews"])
    real_user = canonical_id("user_id", prepare.id_case)
    user = canonical_user("user_id", prepare, key) if prepare.pseudonymize_with else real_user
    nobody = is_placeholder(real_user, prepare.placeholder_user_ids)
    canonical = reviews.select(
        canonical_id("item_id", prepare.id_case).alias("item_id"),
        F.when(~nobody, user).alias("user_id"),
        "rating",
        cleaned("text").alias("text"),
        "review_time",
        KEPT,
        NOTES,
    )
    known = items.select("item_id", F.lit(True).alias("_known"))
    fault = (
        F.when(~F.col(KEPT), FILTERED)
        .when(F.to_date("review_time") > F.lit(ds), OUTSIDE_WINDOW)
        .when(F.col("item_id").isNull(), "missing_item_id")
        .when(F.col("text").isNull(), "missing_text")
        .when(F.col("_known").isNull(), "unknown_item")
    )
    # Rows at fault, and those of nobody, differ in all columns, so that no task gets all of them.
    whole = F.xxhash64(*columns)
    group = F.when(F.col(STATUS).isNotNull() | F.col("user_id").isNull(), whole)
    copies = Window.partitionBy(STATUS, "item_id", "user_id", "text", group).orderBy(
        F.col("review_time").asc_nulls_last(), F.col("rating").asc_nulls_last()
    )
    return (
        canonical.join(known, "item_id", "left")
        .withColumn(STATUS, fault)
        .withColumn("_copy", F.row_number().over(copies))
        .withColumn(STATUS, F.coalesce(STATUS, F.when(F.col("_copy") > 1, "duplicate").otherwise(USED)))
        .select(*columns, STATUS, NOTES)
    )
