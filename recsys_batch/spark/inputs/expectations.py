"""Counts what the expectations of an input need: one pass over its classified rows, a few thousand numbers at most.

Knows no thresholds: `rules.expectations` judges.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.config.prepare import Expectation, Prepare
from recsys_batch.rules.expectations import Count, Measured, counts_needed, times_needed
from recsys_batch.spark.inputs.notes import REUSED, UNREAD, has_note
from recsys_batch.spark.inputs.quarantine import FILTERED, OUTSIDE_WINDOW, STATUS, USED

# Events whose own time is wrong, whatever it says.
_WRONG_CLOCK = ("clock_error", "future_event")
# Event types that should have a value in a column; in the columns not named, all should.
_DUE = {
    "query": ("search",),
    "rating": ("rating",),
    "quantity": ("purchase", "return"),
    "position": ("impression",),
}


def measure(
    classified: DataFrame, table: str, expectations: Iterable[Expectation], ds: date, prepare: Prepare
) -> Measured:
    """Count what judging the expectations takes, in one aggregation over the classified rows of the table.

    An event belongs to the day of its `event_time`; where that is missing, outside the window or wrong, to the day of
    `received_at`, and else to none. A repeat belongs to the day of the event that it repeats: yesterday's file, sent
    again, leaves today without rows and half of yesterday's repeated.
    """
    expectations = list(expectations)
    counts = sorted(counts_needed(expectations), key=repr)
    times = sorted(times_needed(expectations))
    kept = classified.where(~F.col(STATUS).isin(FILTERED, OUTSIDE_WINDOW))
    day = day_of_event(ds, prepare) if table == "events" else F.lit(None).cast("date")
    is_used = F.col(STATUS) == USED
    found = (
        kept.groupBy(day.alias("day"))
        .agg(
            *(_counted(count, table).alias(f"count_{number}") for number, count in enumerate(counts)),
            # As a number: a timestamp would be turned into the driver's own time zone. Of used rows: one with a wrong
            # clock is always the newest.
            *(F.max(F.when(is_used, F.unix_micros(name))).alias(f"newest_{name}") for name in times),
        )
        .collect()  # as many rows as the window has days
    )
    days: dict[date, dict[Count, int]] = {}
    undated: dict[Count, int] = {}
    newest: dict[str, int] = {}
    for row in found:
        counted = {count: row[f"count_{number}"] or 0 for number, count in enumerate(counts)}
        if row.day is None:
            undated = counted
        else:
            days[row.day] = counted
        for column in times:
            if (micros := row[f"newest_{column}"]) is not None:
                newest[column] = max(micros, newest.get(column, micros))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    found_newest = {column: epoch + timedelta(microseconds=at) for column, at in newest.items()}
    return Measured(table, ds, days, undated, found_newest, prepare.timezone)


def day_of_event(ds: date, prepare: Prepare) -> Column:
    """Return the day within the window that an event counts for, null where none can be told."""
    end = ds + timedelta(days=1)
    start = end - timedelta(days=prepare.lookback_days)

    def within(day: Column) -> Column:
        return F.when((day >= F.lit(start)) & (day < F.lit(end)), day)

    own = F.when(~F.col(STATUS).isin(*_WRONG_CLOCK), within(F.to_date("event_time")))
    # What is received at midnight was done the day before.
    received = F.to_date(F.timestamp_micros(F.unix_micros("received_at") - 1))
    return F.coalesce(own, within(received))


def _counted(count: Count, table: str) -> Column:
    if count.of == "distinct":
        return F.count_distinct(count.column)
    return F.count_if(_is_counted(count, table))


def _is_counted(count: Count, table: str) -> Column:
    """Return whether a row is one of those that are counted; null is no."""
    value = F.col(STATUS if count.of == "quarantined" or not count.column else count.column)
    is_unread = has_note(UNREAD, count.column)
    counted: dict[str, Callable[[], Column]] = {
        "rows": lambda: F.lit(True),
        "repeated": lambda: F.col(STATUS) == "duplicate",
        "quarantined": lambda: value == count.column if count.column else F.col(STATUS) != USED,
        "due": lambda: _is_due(count.column, table),
        "null": lambda: _is_due(count.column, table) & value.isNull(),
        "given": value.isNotNull,
        "out_of_range": lambda: _is_out_of_range(count),
        "unmatched": lambda: _is_unmatched(table),
        "unread": lambda: is_unread,
        "tried": lambda: is_unread | value.isNotNull(),
        "reused": lambda: has_note(REUSED, "event_id"),
    }
    return counted[count.of]()


def _is_out_of_range(count: Count) -> Column:
    value = F.col(count.column)
    below = value < count.low if count.low is not None else F.lit(False)
    # What is no number is in no range; Spark takes it for the largest.
    return below | (value > count.high if count.high is not None else F.isnan(value))


def _is_due(column: str, table: str) -> Column:
    if table != "events":
        return F.lit(True)
    if column == "item_id":
        return F.coalesce(F.col("event_type") != "search", F.lit(True))
    return F.col("event_type").isin(*_DUE[column]) if column in _DUE else F.lit(True)


def _is_unmatched(table: str) -> Column:
    if table == "events":
        # Known not to be products: nobody expects them in the catalog.
        return F.col("item_id").isNotNull() & F.col("item_index").isNull() & (F.col(STATUS) != "non_product")
    return F.col(STATUS) == "unknown_item"
