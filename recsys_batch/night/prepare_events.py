"""The interactions of the date: events read (new files only), classified, matched with what undid them, weighted."""

from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config import Config
from recsys_batch.contracts.errors import EmptyDayError
from recsys_batch.contracts.gates import at_most, refuse_blocked
from recsys_batch.night.context import Run
from recsys_batch.night.inputs import Intake, happened_on, paths, write
from recsys_batch.spark.catalog.item_history import item_versions, join_as_of
from recsys_batch.spark.events.classify import ClassifiedEvents, classify_events
from recsys_batch.spark.events.interactions import count_returns, match_undoings, weigh_interactions
from recsys_batch.spark.events.rows import EVENT_KEY, normalize_events, settings_key
from recsys_batch.spark.inputs.input_log import Reading, read_new, read_whole
from recsys_batch.spark.inputs.quarantine import ACCOUNT_REASONS, FILTERED, OUTSIDE_WINDOW, USED
from recsys_batch.spark.inputs.sources import KEPT, read_table

# More rows than this are not sent to every executor.
_MAX_BROADCAST_ROWS = 2_000_000


def refuse_empty_day(spark: SparkSession, config: Config, ds: date) -> None:
    """Raise EmptyDayError where the sources have too few events of the date, before anything is written for it."""
    asked = config.prepare.min_events_on_ds
    events = read_table(spark, "events", config.sources.events, ds).where(KEPT)
    found = len(events.where(happened_on(ds)).select(F.lit(1)).limit(asked).collect())
    if found < asked:
        raise _empty_day(config, ds, found)


def prepare_events(intake: Intake, items: DataFrame) -> DataFrame:
    """Write the interactions and flagged accounts of the date; return the interactions."""
    run = intake.run
    reading = _read(run, intake.user_key)
    run.summary.count("prepare", event_files=reading.files, event_files_read=reading.files_read)
    classified = classify_events(
        reading.rows, items, run.ds, run.config.prepare, lambda frame, name: run.park(frame, "prepare", name)
    )
    used = intake.settle("events", classified.rows, classified.left_out)
    _check_day(run)
    _check_quarantine(intake)
    _write_accounts(run, classified)
    interactions = write(run, Tables.INTERACTIONS, _interactions(run, used))
    run.summary.count("prepare", **count_returns(interactions))
    classified.accounts.unpersist()
    return interactions


def _read(run: Run, key: bytes | None) -> Reading:
    settings, sources = run.config.prepare, run.config.sources.events
    normalize = normalize_events(settings, key)
    if not settings.incremental:
        return read_whole(run.spark, "events", sources, run.ds, normalize)
    return read_new(run.lake, "events", sources, run.ds, normalize, settings_key(settings, key))


def _interactions(run: Run, used: DataFrame) -> DataFrame:
    matched = match_undoings(used).persist()
    if matched.count() <= _MAX_BROADCAST_ROWS:
        matched = F.broadcast(matched)
    weighed = weigh_interactions(used, matched, run.ds, run.config.prepare).drop(EVENT_KEY)
    versions = item_versions(run.lake, run.ds, run.config.prepare.history_columns).persist()
    return join_as_of(weighed, versions)


def _write_accounts(run: Run, classified: ClassifiedEvents) -> None:
    accounts = write(run, Tables.ACCOUNTS, classified.accounts)
    counts = {row.kind: row["count"] for row in accounts.groupBy("kind").count().collect()}
    run.summary.count("prepare", **{f"accounts_{kind}": number for kind, number in sorted(counts.items())})


def _check_day(run: Run) -> None:
    on_ds = int(run.summary.counts["prepare.events_on_ds"])
    if on_ds < run.config.prepare.min_events_on_ds:
        raise _empty_day(run.config, run.ds, on_ds)


def _empty_day(config: Config, ds: date, found: int) -> EmptyDayError:
    return EmptyDayError(
        f"sources.events: {found} usable event(s) on {ds}, prepare.min_events_on_ds asks for "
        f"{config.prepare.min_events_on_ds}; retry when the day's log is in {paths(config.sources.events)}"
    )


def _check_quarantine(intake: Intake) -> None:
    """Hold the faulty share against the gate; accounts that are no shoppers are no fault of the rows."""
    run = intake.run
    counts = run.summary.counts
    excluded = sum(counts.get(f"prepare.events_quarantined_{reason}", 0) for reason in ACCOUNT_REASONS)
    read = (
        counts["prepare.events_read"]
        - counts[f"prepare.events_{FILTERED}"]
        - counts[f"prepare.events_{OUTSIDE_WINDOW}"]
        - excluded
    )
    share = 1 - counts[f"prepare.events_{USED}"] / max(read, 1)
    checks = [at_most("events", "quarantined_share", share, run.config.gates.max_quarantine_share)]
    intake.note(checks)
    refuse_blocked(checks, run.run_id)
