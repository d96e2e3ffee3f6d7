"""Prepared tables: what `prepare` made of the inputs, one slice a date and run, so that no run reads another's."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.spark.lake.tables import Lake

PREPARED = (
    Tables.ITEMS,
    Tables.INTERACTIONS,
    Tables.USER_HISTORIES,
    Tables.ACCOUNTS,
    Tables.REVIEWS,
    Tables.REQUESTS,
    Tables.EXCLUSIONS,
    Tables.QUERY_UNDERSTANDING,
)


def replace_prepared(lake: Lake, table: str, frame: DataFrame, ds: date, run_id: str) -> None:
    """Write `frame` as the run's slice of a prepared table, in place of an earlier try of the same run."""
    rows = frame.withColumns({"ds": F.lit(ds), "run_id": F.lit(run_id)})
    lake.replace_slice(table, rows, f"ds = DATE'{ds.isoformat()}' AND run_id = '{run_id}'", ("ds", "run_id"))


def read_prepared(lake: Lake, table: str, ds: date, run_id: str) -> DataFrame:
    """Return the run's slice of a prepared table."""
    return lake.read_ds(table, ds).where(F.col("run_id") == run_id)
