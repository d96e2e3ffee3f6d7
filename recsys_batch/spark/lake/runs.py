"""What runs have finished: the stages that `--resume` and `--stage` go by, and how every run ended.

The finished stages of a run stand in small files of its folder, so that they go with what the run left there. Each is
written once and by one process: of two that publish what one run staged, neither takes away what the other wrote.
"""

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime

from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.identity import date_of_run
from recsys_batch.contracts.run_facts import RunFacts
from recsys_batch.contracts.schemas import RUN_STATUS_DDL
from recsys_batch.spark.lake.files import delete_folder, list_folders, list_names, read_text, write_text
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import make_frame

RUNS = "runs"
_FOLDER = "stages"


@dataclass(frozen=True)
class FinishedStage:
    """A stage that a run has finished, with its counts and what the run knew then."""

    stage: str
    run_id: str
    identity: str
    finished_at: str
    """ISO 8601, UTC: of two, the later one is the greater text."""
    counts: dict[str, float]
    facts: RunFacts


def start_run(lake: Lake, run_id: str) -> None:
    """Make the run's folder, so that maintenance sees that the run is at work."""
    write_text(lake.spark, _path(lake, run_id, "started"), "")


def record_stage(
    lake: Lake, run_id: str, stage: str, identity: str, counts: Mapping[str, float], facts: RunFacts
) -> None:
    """Record that the run has finished the stage."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    finished = FinishedStage(stage, run_id, identity, now, {**counts}, facts)
    write_text(lake.spark, _path(lake, run_id, "json"), json.dumps(asdict(finished), indent=1))


def stages_of(lake: Lake, run_id: str) -> list[FinishedStage]:
    """Return the finished stages of one run, oldest first."""
    folder = _folder(lake, run_id)
    names = [name for name in list_names(lake.spark, folder) if name.endswith(".json")]
    # One may be gone by now: maintenance retired the run.
    texts = [text for name in names if (text := read_text(lake.spark, f"{folder}/{name}")) is not None]
    values = [json.loads(text) for text in texts]
    found = [FinishedStage(**each | {"facts": RunFacts.from_values(each["facts"])}) for each in values]
    return sorted(found, key=lambda each: each.finished_at)


def finished_stages(lake: Lake, ds: date) -> list[FinishedStage]:
    """Return the finished stages of all runs of the date, newest first."""
    runs = [run_id for run_id in list_folders(lake.spark, lake.path(RUNS)) if date_of_run(run_id) == ds]
    found = [stage for run_id in runs for stage in stages_of(lake, run_id)]
    return sorted(found, key=lambda each: (each.finished_at, each.run_id), reverse=True)


def newest_run(lake: Lake, ds: date, stage: str) -> str | None:
    """Return the run of the date that finished the stage last, or None."""
    return next((each.run_id for each in finished_stages(lake, ds) if each.stage == stage), None)


def retire_run(lake: Lake, run_id: str) -> None:
    """Have no later run go on from this one; to be called before what it left is removed."""
    delete_folder(lake.spark, _folder(lake, run_id))


def recent_counts(lake: Lake, ds: date, nights: int, standing: Mapping[date, str]) -> list[dict[str, float]]:
    """Return what the published runs of the dates before `ds` counted, of the newest `nights` of them, newest first.

    `standing` names the run whose release of a date stands: the counts of a run that was rolled back say nothing of it.
    """
    if not lake.exists(Tables.RUN_STATUS):
        return []
    before = lake.read(Tables.RUN_STATUS).where((F.col("ds") < F.lit(ds)) & (F.col("state") == "published"))
    if standing:
        before = before.where(~F.col("ds").isin(*standing) | F.col("run_id").isin(*standing.values()))
    newest = before.groupBy("ds").agg(F.max_by("counts", "finished_at").alias("counts"))
    return [row.counts for row in newest.orderBy(F.desc("ds")).limit(nights).collect()]


def counts_of_runs(lake: Lake, run_ids: Collection[str]) -> dict[str, dict[str, float]]:
    """Return what published runs counted, of those of `run_ids` that left a row when they ended."""
    if not lake.exists(Tables.RUN_STATUS) or not run_ids:
        return {}
    rows = lake.read(Tables.RUN_STATUS).where(F.col("run_id").isin(*run_ids) & (F.col("state") == "published"))
    newest = rows.groupBy("run_id").agg(F.max_by("counts", "finished_at").alias("counts"))
    return {row.run_id: row.counts for row in newest.collect()}


def record_status(
    lake: Lake,
    ds: date,
    run_id: str,
    state: str,
    message: str,
    seconds: Mapping[str, float],
    counts: Mapping[str, float],
) -> None:
    """Append one row for a run that has ended, well or not."""
    row = (ds, run_id, state, message, _doubles(seconds), _doubles(counts), datetime.now(UTC))
    lake.append(Tables.RUN_STATUS, make_frame(lake.spark, [row], RUN_STATUS_DDL), ("ds",))


def _folder(lake: Lake, run_id: str) -> str:
    return lake.path(f"{RUNS}/{run_id}/{_FOLDER}")


def _path(lake: Lake, run_id: str, kind: str) -> str:
    """Return a new file's place."""
    return f"{_folder(lake, run_id)}/{secrets.token_hex(8)}.{kind}"


def _doubles(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: float(number) for name, number in numbers.items()}
