"""Stage `prepare`: sources become the catalog, interactions, user histories and requests of the date."""

from collections.abc import Sequence
from datetime import timedelta

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config import Source
from recsys_batch.contracts.errors import EmptyDayError, InputNotReadyError
from recsys_batch.contracts.gates import Check, at_most, refuse_blocked
from recsys_batch.night.context import Run
from recsys_batch.spark import catalog, events, histories, requests
from recsys_batch.spark.publish import record_checks
from recsys_batch.spark.quarantine import FILTERED, NOT_QUARANTINED, OUTSIDE_WINDOW, STATUS, USED, quarantine
from recsys_batch.spark.sources import read_table

REQUESTS = "requests"


def prepare(run: Run) -> None:
    """Write items, interactions, user_histories (and requests) of the date, and the quarantine tables."""
    items = _prepare_items(run)
    interactions = _prepare_events(run, items)
    made = histories.user_histories(interactions, run.config.prepare)
    _write(run, Tables.USER_HISTORIES, made)
    known = run.read_prepared(Tables.USER_HISTORIES)
    run.summary.count("prepare", users=known.count(), users_without_history=known.where("size(history) = 0").count())
    if run.config.sources.reviews:
        raw = read_table(run.spark, "reviews", run.config.sources.reviews, run.ds)
        _settle(run, "reviews", requests.classify_reviews(raw, items, run.config.prepare.id_case))
    if run.config.sources.requests and run.config.lists.requests:
        raw = read_table(run.spark, "requests", run.config.sources.requests, run.ds)
        _write(run, REQUESTS, _settle(run, "requests", requests.classify_requests(raw, run.config.prepare.id_case)))


def _prepare_items(run: Run) -> DataFrame:
    config = run.config
    raw = read_table(run.spark, "items", config.sources.items, run.ds)
    used = _settle(run, "items", catalog.classify_items(raw, config.prepare.id_case))
    chosen = catalog.choose_items(used, config.prepare.item_duplicates)
    finished = catalog.finish_items(chosen, config.item_text, config.rerank.where, config.rerank.category_level)
    _write(run, Tables.ITEMS, finished)
    items = run.items()
    num_items = items.count()
    if num_items == 0:
        raise InputNotReadyError(f"sources.items: no usable row for {run.ds}; paths: {_paths(config.sources.items)}")
    run.summary.count("prepare", items=num_items, items_eligible=items.where("eligible").count())
    return items


def _prepare_events(run: Run, items: DataFrame) -> DataFrame:
    config = run.config
    raw = read_table(run.spark, "events", config.sources.events, run.ds)
    classified = events.classify_events(raw, items, run.ds, config.prepare)
    used = _settle(run, "events", classified)
    _write(run, Tables.INTERACTIONS, events.weigh_interactions(used, run.ds, config.prepare))
    interactions = run.read_prepared(Tables.INTERACTIONS)
    start = f"TIMESTAMP'{run.ds.isoformat()} 00:00:00'"
    end = f"TIMESTAMP'{(run.ds + timedelta(days=1)).isoformat()} 00:00:00'"
    on_ds = interactions.where(f"event_time >= {start} AND event_time < {end}").count()
    run.summary.count(
        "prepare",
        events_on_ds=on_ds,
        purchases_undone=interactions.where("undone").count(),
    )
    if on_ds < config.prepare.min_events_on_ds:
        raise EmptyDayError(
            f"sources.events: {on_ds} usable event(s) on {run.ds}, prepare.min_events_on_ds asks for "
            f"{config.prepare.min_events_on_ds}; retry when the day's log is in {_paths(config.sources.events)}"
        )
    _check_quarantine(run)
    return interactions


def _settle(run: Run, table: str, classified: DataFrame) -> DataFrame:
    """Write the quarantined rows, count every status, and return the used rows."""
    # Read three times below (counts, quarantine, used rows) and expensive to make.
    held = classified.persist(StorageLevel.DISK_ONLY)
    counts = {row[STATUS]: row["count"] for row in held.groupBy(STATUS).count().collect()}
    run.summary.count(
        "prepare",
        **{f"{table}_read": sum(counts.values())},
        **{f"{table}_{status}": counts.get(status, 0) for status in NOT_QUARANTINED},
        **{f"{table}_quarantined_{status}": n for status, n in sorted(counts.items()) if status not in NOT_QUARANTINED},
    )
    quarantine(run.lake, f"{table}_quarantine", held, run.ds, run.run_id)
    return held.where(F.col(STATUS) == USED).drop(STATUS)


def _check_quarantine(run: Run) -> None:
    counts = run.summary.counts
    read = (
        counts["prepare.events_read"]
        - counts[f"prepare.events_{FILTERED}"]
        - counts[f"prepare.events_{OUTSIDE_WINDOW}"]
    )
    share = 1 - counts[f"prepare.events_{USED}"] / max(read, 1)
    checks: list[Check] = [at_most("events", "quarantined_share", share, run.config.gates.max_quarantine_share)]
    run.summary.checks.extend(checks)
    record_checks(run.lake, run.ds, run.run_id, "prepare", checks)
    refuse_blocked(checks, run.run_id)


def _write(run: Run, table: str, frame: DataFrame) -> None:
    run.lake.replace_ds(table, frame.withColumn("ds", F.lit(run.ds)).withColumn("run_id", F.lit(run.run_id)), run.ds)


def _paths(sources: Sequence[Source]) -> str:
    return ", ".join(source.path for source in sources)
