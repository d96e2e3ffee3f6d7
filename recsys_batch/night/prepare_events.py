"""The interactions of the date: events read (new files only), classified, matched with what undid them, weighted."""

from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import EmptyDayError, ExpectationFailedError
from recsys_batch.contracts.gates import at_most, refuse_blocked
from recsys_batch.night.context import Run
from recsys_batch.night.inputs import Intake, happened_on, paths, write
from recsys_batch.spark.catalog.item_history import item_versions, join_as_of
from recsys_batch.spark.events.classify import ClassifiedEvents, classify_events
from recsys_batch.spark.events.interactions import count_returns, match_undoings, weigh_interactions
from recsys_batch.spark.events.rows import EVENT_KEY, normalize_events, settings_key
from recsys_batch.spark.inputs.input_log import Reading, read_new, read_whole
from recsys_batch.spark.inputs.quarantine import ACCOUNT_REASONS, FILTERED, OUTSIDE_WINDOW, STATUS, USED
from recsys_batch.spark.inputs.sources import KEPT
from recsys_batch.spark.inputs.suppression import Suppression
from recsys_batch.spark.session import MAX_BROADCAST_ROWS

# Beyond them a time is a number read in the wrong unit.
_PLAUSIBLE_YEARS = (1971, 2200)
# Reason -> the column whose values tell why; an id would name a person.
_TELLING = {"unknown_event_type": "event_type", "clock_error": "event_time", "future_event": "event_time"}


def refuse_empty_day(raw: DataFrame, config: Config, ds: date) -> None:
    """Raise EmptyDayError where the sources (`sources.read_table`) have too few events of the date.

    To be called before anything is written for it.
    """
    asked = config.prepare.min_events_on_ds
    events = raw.where(KEPT)
    found = len(events.where(happened_on(ds)).select(F.lit(1)).limit(asked).collect())
    if found < asked:
        raise _empty_day(config, ds, found, _newest_time(config, events))


def _newest_time(config: Config, events: DataFrame) -> str:
    """Return the newest time of the events, empty where there are none.

    Raises ExpectationFailedError where no row at all has a time that can be meant: waiting does not mend that.
    """
    year = F.year("event_time")
    row = events.agg(
        F.count("*").alias("rows"),
        F.count("event_time").alias("timed"),
        F.count_if(year.between(*_PLAUSIBLE_YEARS)).alias("plausible"),
        F.date_format(F.max("event_time"), "yyyy-MM-dd HH:mm").alias("newest"),
    ).first()
    if row is None or not row["rows"] or row.plausible:
        return f"{row.newest}{config.prepare.zone_note}" if row is not None and row.newest else ""
    what = "a time that cannot be read" if not row.timed else f"a time outside the years {_PLAUSIBLE_YEARS}"
    raise ExpectationFailedError(
        f"sources.events: event_time: all {row['rows']:,} rows of {paths(config.sources.events)} have {what}; mend "
        "select.event_time (milliseconds since 1970: TIMESTAMP_MILLIS(...); other forms: TO_TIMESTAMP(..., 'format'))"
    )


def prepare_events(intake: Intake, items: DataFrame) -> DataFrame:
    """Write the interactions and flagged accounts of the date; return the interactions."""
    run = intake.run
    reading = _read(run, intake.user_key, intake.suppression)
    run.summary.count("prepare", event_files=reading.files, event_files_read=reading.files_read)
    classified = classify_events(
        reading.rows, items, run.ds, run.config.prepare, lambda frame, name: run.park(frame, "prepare", name)
    )
    used = intake.settle("events", classified.rows, classified.left_out)
    _check_day(run, classified.rows)
    _check_quarantine(intake, classified.rows)
    _write_accounts(run, classified)
    interactions = write(run, Tables.INTERACTIONS, _interactions(run, used))
    run.summary.count("prepare", **count_returns(interactions))
    classified.accounts.unpersist()
    return interactions


def _read(run: Run, key: bytes | None, suppression: Suppression) -> Reading:
    settings, sources = run.config.prepare, run.config.sources.events
    normalized = normalize_events(settings, key)

    def normalize(raw: DataFrame) -> DataFrame:
        return normalized(suppression.without(raw, settings.id_case))

    if not settings.incremental:
        return read_whole(run.spark, "events", sources, run.ds, normalize)
    return read_new(run.lake, "events", sources, run.ds, normalize, settings_key(settings, key))


def _interactions(run: Run, used: DataFrame) -> DataFrame:
    matched = match_undoings(used).persist()
    if matched.count() <= MAX_BROADCAST_ROWS:
        matched = F.broadcast(matched)
    weighed = weigh_interactions(used, matched, run.ds, run.config.prepare).drop(EVENT_KEY)
    versions = item_versions(run.lake, run.ds, run.config.prepare.history_columns).persist()
    return join_as_of(weighed, versions)


def _write_accounts(run: Run, classified: ClassifiedEvents) -> None:
    accounts = write(run, Tables.ACCOUNTS, classified.accounts)
    counts = {row.kind: row["count"] for row in accounts.groupBy("kind").count().collect()}
    run.summary.count("prepare", **{f"accounts_{kind}": number for kind, number in sorted(counts.items())})


def _check_day(run: Run, classified: DataFrame) -> None:
    on_ds = int(run.summary.counts["prepare.events_on_ds"])
    if on_ds >= run.config.prepare.min_events_on_ds:
        return
    counts = run.summary.counts
    refused = _refused(run)
    if refused and not counts[f"prepare.events_{USED}"]:
        raise ExpectationFailedError(
            f"sources.events: not one of {sum(refused.values()):,} event rows can be used: "
            f"{_reasons(refused, classified)}; see the rows in events_quarantine, and mend `select` in the config or "
            "the source. The same rows fail again"
        )
    raise _empty_day(run.config, run.ds, on_ds)


def _refused(run: Run) -> dict[str, int]:
    """Return the number of refused event rows by reason."""
    prefix = "prepare.events_quarantined_"
    return {name.removeprefix(prefix): int(n) for name, n in run.summary.counts.items() if name.startswith(prefix)}


def _reasons(refused: Mapping[str, int], classified: DataFrame) -> str:
    """Say why rows were refused, most frequent first, with the values that most of them have."""
    said = []
    for reason, rows in sorted(refused.items(), key=lambda each: -each[1]):
        values = ""
        if reason in _TELLING:
            column = F.col(_TELLING[reason]).cast("string").alias("value")
            found = classified.where(F.col(STATUS) == reason).groupBy(column).count()
            top = found.orderBy(F.desc("count"), "value").limit(3).collect()
            values = f" ({_TELLING[reason]}: {', '.join(repr(row.value) for row in top)})"
        said.append(f"{reason} {rows:,}{values}")
    return ", ".join(said)


def _empty_day(config: Config, ds: date, found: int, newest: str = "") -> EmptyDayError:
    newest = f"; the newest event is of {newest}" if newest else ""
    return EmptyDayError(
        f"sources.events: {found} usable event(s) on {ds}, prepare.min_events_on_ds asks for "
        f"{config.prepare.min_events_on_ds}; retry when the day's log is in {paths(config.sources.events)}{newest}"
    )


def _check_quarantine(intake: Intake, classified: DataFrame) -> None:
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
    # A shop that has just opened has no log: where nothing was read, nothing is at fault.
    share = 1 - counts[f"prepare.events_{USED}"] / read if read else 0.0
    checks = [at_most("events", "quarantined_share", share, run.config.gates.max_quarantine_share)]
    intake.note(checks)
    faults = {reason: rows for reason, rows in _refused(run).items() if reason not in ACCOUNT_REASONS}
    refuse_blocked(
        checks, run.run_id, lambda: f"refused rows: {_reasons(faults, classified)}; see them in events_quarantine"
    )
