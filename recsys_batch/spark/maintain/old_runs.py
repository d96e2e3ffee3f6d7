"""What runs leave: folders and staged slices of nights no longer retained, prepared slices that nothing rests on."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from delta.tables import DeltaTable
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Lists, Tables
from recsys_batch.contracts.identity import date_of_run
from recsys_batch.spark.lake.files import delete_folder, folder_state, is_there, list_folders
from recsys_batch.spark.lake.prepared import PREPARED
from recsys_batch.spark.lake.runs import RUNS, newest_run, retire_run
from recsys_batch.spark.lake.tables import Lake, retry_conflicts
from recsys_batch.spark.maintain.nights import RetainedNights
from recsys_batch.spark.publish.release import prepared_by, staged_name


@dataclass(frozen=True)
class Leftovers:
    """What one run has left: its date, its last change, and where."""

    ds: date
    changed: datetime
    folder_bytes: int | None = None
    """Size of its folder; None where it has none."""
    rows: Mapping[str, int] | None = None
    """List table -> staged rows."""


@dataclass(frozen=True)
class OldRuns:
    """What was removed."""

    run_ids: tuple[str, ...]
    folders: int
    folder_bytes: int
    slices: int
    rows: int
    needed: int
    """Runs that are old enough, but that a retained release or an unfinished publication needs."""


def remove_old_runs(lake: Lake, nights: RetainedNights, before: datetime, dry_run: bool = False) -> OldRuns:
    """Remove folder and staged slices of every run outside the nights that nothing of it has changed since `before`.

    Runs of a retained release, which a rollback would publish again, and of a publication that was cut short stay.
    No later run goes on from a removed one. With `dry_run` nothing is removed.
    """
    left = _leftovers(lake, nights)
    old = {run_id: each for run_id, each in left.items() if not nights.hold(each.ds) and each.changed < before}
    needed = needed_runs(lake, nights) & old.keys()
    going = {run_id: each for run_id, each in sorted(old.items()) if run_id not in needed}
    folders = [run_id for run_id, each in going.items() if each.folder_bytes is not None]
    if not dry_run and going:
        # First of all, so that no run goes on from half of its files where this is cut short.
        for run_id in going:
            retire_run(lake, run_id)
        for table in Lists.KEY:
            _delete_slices(
                lake, staged_name(table), [run_id for run_id, each in going.items() if table in (each.rows or {})]
            )
        for run_id in folders:
            delete_folder(lake.spark, lake.path(f"{RUNS}/{run_id}"))
    rows = [number for each in going.values() for number in (each.rows or {}).values()]
    num_bytes = sum(each.folder_bytes or 0 for each in going.values())
    return OldRuns(tuple(going), len(folders), num_bytes, len(rows), sum(rows), len(needed))


def remove_superseded(lake: Lake, before: datetime, dry_run: bool = False) -> list[str]:
    """Remove the prepared slices of runs that nothing rests on, whichever their date, and return these runs.

    Kept are those that a release or a publication names, the newest of each date, and those of runs that have left
    something since `before`. No later run goes on from the others. With `dry_run` nothing is removed.
    """
    slices: dict[date, set[str]] = {}
    tables = [table for table in PREPARED if lake.exists(table)]
    for table in tables:
        for row in lake.read(table).select("ds", "run_id").distinct().collect():
            slices.setdefault(row.ds, set()).add(row.run_id)
    kept = _named_by_releases(lake)
    for ds, run_ids in slices.items():
        newest = newest_run(lake, ds, "prepare")
        # Where no run says so, none is known to be superseded.
        kept |= {newest} if newest is not None else (set() if kept & run_ids else run_ids)
    going = sorted(
        run_id for run_ids in slices.values() for run_id in run_ids - kept if not _has_changed(lake, run_id, before)
    )
    if going and not dry_run:
        for run_id in going:
            retire_run(lake, run_id)
        for table in tables:
            _delete_slices(lake, table, going)
    return going


def _has_changed(lake: Lake, run_id: str, since: datetime) -> bool:
    folder = lake.path(f"{RUNS}/{run_id}")
    return is_there(lake.spark, folder) and folder_state(lake.spark, folder).modified_ms >= since.timestamp() * 1000


def _named_by_releases(lake: Lake) -> set[str]:
    named: set[str] = set()
    for table in (Tables.RELEASES, Tables.PUBLICATIONS):
        if lake.exists(table):
            named |= {prepared_by(row) for row in lake.read(table).drop("gates").collect()}
    return named


def needed_runs(lake: Lake, nights: RetainedNights) -> set[str]:
    """Return the runs of the nights' releases, and of publications of any date that were cut short."""
    releases = []
    if lake.exists(Tables.RELEASES):
        releases = lake.read(Tables.RELEASES).select("ds", "run_id", "release_id").collect()
    released = {row.release_id for row in releases}
    needed = {row.run_id for row in releases if nights.hold(row.ds)}
    if lake.exists(Tables.PUBLICATIONS):
        claims = lake.read(Tables.PUBLICATIONS).select("run_id", "release_id").collect()
        needed |= {row.run_id for row in claims if row.release_id not in released}
    return needed


def _leftovers(lake: Lake, nights: RetainedNights) -> dict[str, Leftovers]:
    """Return run -> what it left, but for the folders of retained nights, which need not be looked into."""
    found: dict[str, Leftovers] = {}
    for table in Lists.KEY:
        if not lake.exists(staged_name(table)):
            continue
        staged = lake.read(staged_name(table)).select("run_id", "ds", "_metadata.file_modification_time")
        slices = staged.groupBy("run_id").agg(
            F.max("ds").alias("ds"),
            F.count("*").alias("n"),
            F.max("file_modification_time").cast("double").alias("changed"),
        )
        for row in slices.collect():
            changed = datetime.fromtimestamp(row.changed, UTC)
            known = found.get(row.run_id, Leftovers(row.ds, changed))
            rows = {**(known.rows or {}), table: row.n}
            found[row.run_id] = Leftovers(max(known.ds, row.ds), max(known.changed, changed), None, rows)
    for run_id in list_folders(lake.spark, lake.path(RUNS)):
        ds = date_of_run(run_id)
        # A folder of another name is none of ours.
        if ds is None or nights.hold(ds):
            continue
        state = folder_state(lake.spark, lake.path(f"{RUNS}/{run_id}"))
        changed = datetime.fromtimestamp(state.modified_ms / 1000, UTC)
        known = found.get(run_id, Leftovers(ds, changed))
        found[run_id] = Leftovers(max(known.ds, ds), max(known.changed, changed), state.length, known.rows)
    return found


def _delete_slices(lake: Lake, table: str, run_ids: Collection[str]) -> None:
    if not run_ids:
        return

    def commit() -> None:
        # The table is partitioned by run: whole files go, and no other run's commit is in the way.
        target = DeltaTable.forPath(lake.spark, lake.path(table))
        target.delete(F.col("run_id").isin(sorted(run_ids)))

    retry_conflicts(commit)
