"""Which stages of which runs are finished: what `--resume` and `--stage` go by; and how every run ended."""

from collections.abc import Mapping
from datetime import UTC, date, datetime

from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.schemas import RUN_STAGES_DDL, RUN_STATUS_DDL
from recsys_batch.spark.tables import Lake

_RELEASED = "released"


def record_stage(
    lake: Lake,
    ds: date,
    run_id: str,
    identity: str,
    stage: str,
    seconds: float,
    counts: Mapping[str, float],
    finished: bool,
) -> None:
    """Append one row for a finished stage; the last of a published run is marked, so that nobody resumes it."""
    lake.ensure(Tables.RUN_STAGES, RUN_STAGES_DDL, ("ds",))
    name = _RELEASED if finished else stage
    row = (ds, run_id, identity, name, seconds, _doubles(counts), datetime.now(UTC))
    frame = lake.spark.createDataFrame([row], RUN_STAGES_DDL)
    frame.write.format("delta").mode("append").save(lake.path(Tables.RUN_STAGES))


def record_status(
    lake: Lake,
    ds: date,
    run_id: str,
    state: str,
    message: str,
    seconds: Mapping[str, float],
    counts: Mapping[str, float],
) -> None:
    """Append one row for a run that has ended, well or not; a resumed run gets one each time."""
    lake.ensure(Tables.RUN_STATUS, RUN_STATUS_DDL, ("ds",))
    row = (ds, run_id, state, message, _doubles(seconds), _doubles(counts), datetime.now(UTC))
    frame = lake.spark.createDataFrame([row], RUN_STATUS_DDL)
    frame.write.format("delta").mode("append").save(lake.path(Tables.RUN_STATUS))


def find_unfinished(lake: Lake, ds: date, identity: str) -> tuple[str, dict[str, dict[str, float]]] | None:
    """Return the newest unpublished run of the identity and its finished stages with their counts, or None."""
    if not lake.exists(Tables.RUN_STAGES):
        return None
    rows = lake.read_ds(Tables.RUN_STAGES, ds).where(F.col("identity") == identity).orderBy("finished_at").collect()
    released = {row.run_id for row in rows if row.stage == _RELEASED}
    open_runs = [row.run_id for row in rows if row.run_id not in released]
    if not open_runs:
        return None
    run_id = open_runs[-1]
    return run_id, {row.stage: dict(row.counts) for row in rows if row.run_id == run_id}


def _doubles(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: float(number) for name, number in numbers.items()}
