"""Row statuses, and the quarantine tables that keep every refused row with its reason."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.spark.inputs.notes import NOTES
from recsys_batch.spark.lake.tables import Lake

STATUS = "status"
USED = "used"
FILTERED = "filtered"
OUTSIDE_WINDOW = "outside_window"
# Statuses that are no fault of the row; every other status is a quarantine reason.
NOT_QUARANTINED = (USED, FILTERED, OUTSIDE_WINDOW)
# Reasons that speak of the account, not of the row.
ACCOUNT_REASONS = ("test_account", "bot", "reseller", "over_cap")


def quarantine(lake: Lake, table: str, classified: DataFrame, ds: date, run_id: str, num_refused: int) -> None:
    """Replace the date's quarantined rows of `table` with the refused rows of `classified`; makes no empty table."""
    if not num_refused and not lake.exists(table):
        return
    refused = classified.where(~F.col(STATUS).isin(*NOT_QUARANTINED))
    rows = refused.withColumnRenamed(STATUS, "reason").drop("item_index", "event_key", NOTES)
    lake.replace_ds(table, rows.withColumn("ds", F.lit(ds)).withColumn("run_id", F.lit(run_id)), ds)
