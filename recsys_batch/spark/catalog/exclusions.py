"""Exclusions: what a user or a request must not be shown; raw rows get one status each."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.spark.inputs.normalize import canonical_id, canonical_user, is_placeholder
from recsys_batch.spark.inputs.notes import NOTES
from recsys_batch.spark.inputs.quarantine import FILTERED, STATUS, USED
from recsys_batch.spark.inputs.sources import KEPT


def classify_exclusions(
    exclusions: DataFrame, items: DataFrame, prepare: Prepare, key: bytes | None = None
) -> DataFrame:
    """Give every raw exclusion a `status`: a row names a user or a request, and an item of the catalog.

    `items` has item_id; `key` is what `pseudonyms.read_key` gave, where the shop asks for pseudonyms.
    """
    columns = list(Inputs.TYPES["exclusions"])
    real_user = canonical_id("user_id", prepare.id_case)
    user = canonical_user("user_id", prepare, key) if prepare.pseudonymize_with else real_user
    canonical = exclusions.select(
        F.when(~is_placeholder(real_user, prepare.placeholder_user_ids), user).alias("user_id"),
        canonical_id("request_id", "keep").alias("request_id"),
        canonical_id("item_id", prepare.id_case).alias("item_id"),
        KEPT,
        NOTES,
    )
    known = items.select("item_id", F.lit(True).alias("_known"))
    has_user, has_request = F.col("user_id").isNotNull(), F.col("request_id").isNotNull()
    fault = (
        F.when(~F.col(KEPT), FILTERED)
        .when(F.col("item_id").isNull(), "missing_item_id")
        .when(~has_user & ~has_request, "missing_key")
        .when(has_user & has_request, "two_keys")
        .when(F.col("_known").isNull(), "unknown_item")
    )
    copies = Window.partitionBy(STATUS, *columns).orderBy(F.lit(0))
    return (
        canonical.join(known, "item_id", "left")
        .withColumn(STATUS, fault)
        .withColumn("_copy", F.row_number().over(copies))
        .withColumn(STATUS, F.coalesce(STATUS, F.when(F.col("_copy") > 1, "duplicate").otherwise(USED)))
        .select(*columns, STATUS, NOTES)
    )
