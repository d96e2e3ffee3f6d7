"""Which stages of which runs are finished: what `--resume` and `--stage` go by; and how every run ended."""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime

from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.schemas import RUN_STAGES_DDL, RUN_STATUS_DDL
from recsys_batch.spark.lake.tables import Lake

_RELEASED = "released"
# Its files are gone (`retire_runs`).
_REMOVED = "removed"


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
    name = _RELEASED if finished else stage
    row = (ds, run_id, identity, name, seconds, _doubles(counts), datetime.now(UTC))
    lake.append(Tables.RUN_STAGES, lake.spark.createDataFrame([row], RUN_STAGES_DDL), ("ds",))


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
    row = (ds, run_id, state, message, _doubles(seconds), _doubles(counts), datetime.now(UTC))
    lake.append(Tables.RUN_STATUS, lake.spark.createDataFrame([row], RUN_STATUS_DDL), ("ds",))


def find_unfinished(lake: Lake, ds: date, identity: str) -> tuple[str, dict[str, dict[str, float]]] | None:
    """Return the newest unpublished run of the identity and its finished stages with their counts, or None.

    Runs whose files were removed do not count.
    """
    if not lake.exists(Tables.RUN_STAGES):
        return None
    rows = lake.read_ds(Tables.RUN_STAGES, ds).where(F.col("identity") == identity).orderBy("finished_at").collect()
    closed = {row.run_id for row in rows if row.stage in (_RELEASED, _REMOVED)}
    open_runs = [row.run_id for row in rows if row.run_id not in closed]
    if not open_runs:
        return None
    run_id = open_runs[-1]
    return run_id, {row.stage: dict(row.counts) for row in rows if row.run_id == run_id}


def retire_runs(lake: Lake, run_ids: Collection[str]) -> int:
    """Have those of the runs that are unpublished never resumed again; return how many there were.

    Call it before their files are removed.
    """
    if not lake.exists(Tables.RUN_STAGES):
        return 0
    rows = lake.read(Tables.RUN_STAGES).where(F.col("run_id").isin(sorted(run_ids)))
    known = rows.groupBy("ds", "run_id", "identity").agg(F.collect_set("stage").alias("stages")).collect()
    still_open = [row for row in known if not {_RELEASED, _REMOVED} & set(row.stages)]
    if still_open:
        now = datetime.now(UTC)
        none: dict[str, float] = {}
        retired = [(row.ds, row.run_id, row.identity, _REMOVED, 0.0, none, now) for row in still_open]
        lake.append(Tables.RUN_STAGES, lake.spark.createDataFrame(retired, RUN_STAGES_DDL), ("ds",))
    return len(still_open)


def _doubles(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: float(number) for name, number in numbers.items()}
