"""What may be put side by side: the standing release of a date, an older release of it, a run that staged its rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.contracts.identity import date_of_run
from recsys_batch.contracts.list_changes import SideFacts
from recsys_batch.spark.lake.files import list_folders
from recsys_batch.spark.lake.prepared import read_prepared
from recsys_batch.spark.lake.runs import RUNS, FinishedStage, stages_of
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import latest_release, prepared_by, read_release, read_staged

_RANK = "rank"
# A message names no more ids than this.
_NAMED_RUNS = 10


@dataclass(frozen=True)
class Side:
    """The lists of one release or run."""

    facts: SideFacts
    lists: Mapping[str, DataFrame]
    """List table -> its rows, as published or staged."""
    num_rows: int
    """Rows of all of them."""
    lake: Lake

    def prepared(self, table: str) -> DataFrame:
        """Return the rows of a prepared table that the lists rest on."""
        return read_prepared(self.lake, table, self.facts.ds, self.facts.prepared_run)


def find_sides(lake: Lake, ds: date, baseline: str = "", candidate: str = "") -> tuple[Side, Side]:
    """Return the two sides, baseline first; either is the release of `ds` where it is left out (`find_side`).

    Raises the errors of `find_side`, and ConfigError where the candidate is of another date, or both are one run's.
    """
    if not baseline and not candidate:
        raise ConfigError("nothing to compare with: name a --baseline (a date, a release, a run) or a --candidate")
    sides = (find_side(lake, baseline or ds.isoformat()), find_side(lake, candidate or ds.isoformat()))
    if sides[1].facts.ds != ds:
        raise ConfigError(f"--candidate {candidate}: of {sides[1].facts.ds}, not of --ds {ds}; name it --baseline")
    if sides[0].facts.run_id == sides[1].facts.run_id:
        raise ConfigError(f"both sides are run {sides[0].facts.run_id}; name another --baseline or --candidate")
    return sides


def find_side(lake: Lake, name: str) -> Side:
    """Return the side that `name` means: a date (its standing release), a release's id, or that of a run.

    Raises InputNotReadyError where nothing is published for the date, ConfigError where no release or run that staged
    its lists has the id; the message names those that there are.
    """
    if (ds := _date_of(name)) is not None:
        release = latest_release(lake, ds)
        if release is None:
            raise InputNotReadyError(f"{Tables.RELEASES}: nothing published for {ds} in {lake.root}; run the night")
        return _released(lake, release)
    if (release := _release_called(lake, name)) is not None:
        return _released(lake, release)
    ranked = _ranked(lake, name)
    if ranked is None:
        raise ConfigError(
            f"{name!r} is no date (YYYY-MM-DD), no release and no run with staged lists in {lake.root}; "
            f"known: {', '.join(_known(lake, date_of_run(name))) or 'none'}"
        )
    found = date_of_run(name)
    assert found is not None  # only folders with such names are a run's  # noqa: S101
    facts = SideFacts(found, name, "staged", ranked.facts.made_by["prepare"])
    counts = ranked.facts.num_rows
    return Side(facts, {table: read_staged(lake, table, name) for table in counts}, sum(counts.values()), lake)


def _date_of(name: str) -> date | None:
    try:
        return date.fromisoformat(name) if len(name) == len("2026-06-30") else None
    except ValueError:
        return None


def _release_called(lake: Lake, name: str) -> Row | None:
    if not lake.exists(Tables.RELEASES):
        return None
    named = (F.col("release_id") == name) | (F.col("run_id") == name)
    rows = lake.read(Tables.RELEASES).where(named).collect()
    # A rollback releases a run's rows once more, under another id.
    return max(rows, key=lambda row: (row.release_id == name, row.published_at), default=None)


def _released(lake: Lake, release: Row) -> Side:
    tables = [table for table, number in release.row_counts.items() if number]
    facts = SideFacts(release.ds, release.run_id, "released", prepared_by(release))
    lists = {table: read_release(lake, release, table) for table in tables}
    return Side(facts, lists, sum(release.row_counts.values()), lake)


def _ranked(lake: Lake, run_id: str) -> FinishedStage | None:
    """Return the stage of a run that staged its lists; None where there is no such run, or it has not come so far."""
    if date_of_run(run_id) is None:
        return None
    return next((each for each in stages_of(lake, run_id) if each.stage == _RANK), None)


def _known(lake: Lake, ds: date | None) -> list[str]:
    """Return the newest releases and runs with staged lists, of the date where one is given, newest last."""
    runs = [run for run in list_folders(lake.spark, lake.path(RUNS)) if ds in (None, date_of_run(run))]
    ids = {run for run in runs if _ranked(lake, run) is not None}
    if lake.exists(Tables.RELEASES):
        releases = lake.read(Tables.RELEASES).select("ds", "release_id").collect()
        ids |= {row.release_id for row in releases if ds in (None, row.ds)}
    # An id begins with its date.
    return sorted(ids)[-_NAMED_RUNS:]
