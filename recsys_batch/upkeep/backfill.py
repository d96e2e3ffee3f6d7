"""Backfill: the night for past dates, oldest first, in one session.

What is published is passed over, so a backfill that ended early goes on where it ended. Which published dates late
events have made stale is told by numbers alone: the event rows that concern the date now, against those that concerned
it when its night read them. No clock and no time of receipt is asked.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from recsys_batch.contracts.config.load import hash_config
from recsys_batch.contracts.config.night import Config, Source
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.causes import naming_causes
from recsys_batch.spark.events.rows import count_in_windows
from recsys_batch.spark.inputs.quarantine import FILTERED, OUTSIDE_WINDOW
from recsys_batch.spark.inputs.sources import read_table
from recsys_batch.spark.inputs.suppression import read_suppression
from recsys_batch.spark.lake.runs import counts_of_runs, stages_of
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import describe_release, prepared_by, roll_forward, standing_releases
from recsys_batch.spark.session import local_time, with_settings

log = logging.getLogger("recsys_batch.night")

State = Literal["missing", "cut short", "published", "stale"]
Night = Callable[[date, NightOptions, RunSummary], None]
"""Run the night of a date under these options, filling the summary."""


@dataclass(frozen=True)
class Span:
    """What is asked for."""

    start: date
    end: date
    """The last date."""
    redo_stale: bool = False
    """Whether stale dates are published anew."""
    dry_run: bool = False

    @property
    def dates(self) -> list[date]:
        """All dates, oldest first. Raises ConfigError where there are none."""
        if self.end < self.start:
            raise ConfigError(f"--end {self.end} is before --start {self.start}; nothing to do")
        return [self.start + timedelta(days=n) for n in range((self.end - self.start).days + 1)]

    def asks_for(self, state: State) -> bool:
        """Whether something is done for a date of this state."""
        return state in ("missing", "cut short") or (state == "stale" and self.redo_stale)


@dataclass(frozen=True)
class Found:
    """What a date is now, and why."""

    ds: date
    state: State
    reason: str


def backfill(
    spark: SparkSession, config: Config, span: Span, night: Night, summary: RunSummary, console: Console
) -> None:
    """Run `night` for every date that the span asks for, filling `summary`; with `dry_run` only say which and why.

    The first night that fails ends it with its error. Raises ConfigError for a span without dates.
    """
    lake = Lake.at(spark, config.lake.root)
    with naming_causes():
        found = look(lake, config, span.dates)
    print_dates(console, found, span)
    states = Counter(each.state for each in found)
    summary.count("backfill", **{f"dates_{state.replace(' ', '_')}": number for state, number in states.items()})
    todo = [each for each in found if span.asks_for(each.state)]
    if span.dry_run:
        summary.state = "checked"
        summary.message = f"dry run: {len(todo)} of {len(found)} dates would be run; nothing was written"
        return
    for number, each in enumerate(todo):
        started = time.monotonic()
        try:
            _run(lake, each, night, config.name)
        except BaseException:
            # The error itself is the job's last line.
            log.error(  # noqa: TRY400
                "backfill: stopped at %s with %d of %d dates done; the same command goes on from here",
                *(each.ds, number, len(todo)),
            )
            raise
        summary.stages[each.ds.isoformat()] = time.monotonic() - started
        log.info("backfill: %s is published (%d of %d)", each.ds, number + 1, len(todo))
    stale = 0 if span.redo_stale else states["stale"]
    summary.state = "done" if todo else "nothing to do"
    summary.message = f"{len(todo)} of {len(found)} dates run"
    if stale:
        summary.message += f"; {stale} published before late events came stay as they are (--redo-stale runs them)"


def look(lake: Lake, config: Config, dates: Sequence[date]) -> list[Found]:
    """Return what each of the dates is now."""
    standing, unfinished = standing_releases(lake, F.col("ds").between(dates[0], dates[-1]))
    before = _rows_read(lake, standing)
    counted = [ds for ds in dates if ds in before]
    with with_settings(lake.spark, local_time(config.prepare.timezone)):
        now = _rows_now(lake.spark, config, counted)
    return [_judge(ds, standing.get(ds), ds in unfinished, before.get(ds), now.get(ds, 0), config) for ds in dates]


def _judge(ds: date, release: Row | None, is_unfinished: bool, before: int | None, now: int, config: Config) -> Found:
    if is_unfinished:
        return Found(ds, "cut short", "its publication was cut short, or is under way")
    if release is None:
        return Found(ds, "missing", "no release")
    said = describe_release(release)
    if release.config_hash != hash_config(config):
        said += ", under another config"
    if before is None:
        return Found(ds, "published", f"{said}; how many events it read is not known any more")
    if now > before:
        return Found(ds, "stale", f"{said}; {now - before:,} of {now:,} event rows came later")
    return Found(ds, "published", said)


def _run(lake: Lake, found: Found, night: Night, name: str) -> None:
    if found.state == "cut short":
        # What was staged is published under whatever config it was made; a night would hold that against this one.
        roll_forward(lake, found.ds)
        return
    night(found.ds, NightOptions(resume=True, force=found.state == "stale"), RunSummary(name, found.ds.isoformat()))


def _rows_read(lake: Lake, standing: Mapping[date, Row]) -> dict[date, int]:
    """Return by date the event rows that concerned it when its standing release was made, where that is known."""
    counts = counts_of_runs(lake, [row.run_id for row in standing.values()])
    found = {}
    for ds, row in standing.items():
        # A run that another one rolled forward left no status; its finished stages stay until maintenance.
        own = counts.get(row.run_id) or next(
            (each.counts for each in stages_of(lake, prepared_by(row)) if each.stage == "prepare"), {}
        )
        if "prepare.events_read" in own:
            left_out = sum(own.get(f"prepare.events_{status}", 0) for status in (FILTERED, OUTSIDE_WINDOW))
            found[ds] = int(own["prepare.events_read"] - left_out)
    return found


def _rows_now(spark: SparkSession, config: Config, dates: Sequence[date]) -> dict[date, int]:
    """Return by date the event rows that concern it as the sources are now."""
    sources = config.sources.events
    if not dates:
        return {}
    # A source that names the date is another one every date.
    groups = [[ds] for ds in dates] if any(map(_names_date, sources)) else [dates]
    # A night does not count the rows of forgotten users.
    suppression = read_suppression(Lake.at(spark, config.lake.root), config, os.environ)
    found: dict[date, int] = {}
    for group in groups:
        raw = read_table(spark, "events", sources, group[0])
        found |= count_in_windows(suppression.without(raw, config.prepare.id_case), group, config.prepare)
    return found


def _names_date(source: Source) -> bool:
    texts = (source.path, source.where, *source.select.values(), *(join.path for join in source.joins))
    return any("{ds}" in text for text in texts)


def print_dates(console: Console, found: Iterable[Found], span: Span) -> None:
    """Print one line a date: what it is, whether it is run, and why."""
    table = Table(title=f"backfill {span.start} to {span.end}")
    for column in ("date", "is", "run", "why"):
        table.add_column(column, overflow="fold")
    for each in found:
        table.add_row(each.ds.isoformat(), each.state, "yes" if span.asks_for(each.state) else "", each.reason)
    console.print(table, highlight=False)
