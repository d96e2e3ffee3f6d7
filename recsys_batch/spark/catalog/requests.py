"""Requests: raw rows get one status each."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.rules.texts.clean import IdCase
from recsys_batch.spark.inputs.normalize import canonical_id, canonical_list, normalized_query
from recsys_batch.spark.inputs.notes import NOTES
from recsys_batch.spark.inputs.quarantine import FILTERED, STATUS, USED
from recsys_batch.spark.inputs.sources import KEPT


def classify_requests(requests: DataFrame, case: IdCase) -> DataFrame:
    """Give every raw request a `status`; of rows with one request_id the first in column order is used."""
    columns = list(Inputs.TYPES["requests"])
    canonical = requests.select(
        canonical_id("request_id", "keep").alias("request_id"),
        canonical_list("item_ids", case),
        normalized_query("query").alias("query"),
        KEPT,
        NOTES,
    )
    empty = (F.coalesce(F.size("item_ids"), F.lit(0)) <= 0) & F.col("query").isNull()
    fault = (
        F.when(~F.col(KEPT), FILTERED)
        .when(F.col("request_id").isNull(), "missing_request_id")
        .when(empty, "empty_request")
    )
    copies = Window.partitionBy(STATUS, "request_id").orderBy(*columns)
    return (
        canonical.withColumn(STATUS, fault)
        .withColumn("_copy", F.row_number().over(copies))
        .withColumn(STATUS, F.coalesce(STATUS, F.when(F.col("_copy") > 1, "duplicate").otherwise(USED)))
        .select(*columns, STATUS, NOTES)
    )
