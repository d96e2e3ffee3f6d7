"""Event rows by themselves: canonical ids and queries, a key that equal rows share, and faults that a row shows alone.

What needs other rows or the business date is decided in `events`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import EVENT_TYPES, Inputs
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.spark.inputs.normalize import (
    MADE_OF_USERS,
    canonical_id,
    canonical_user,
    hashed_id,
    is_placeholder,
    normalized_query,
)
from recsys_batch.spark.inputs.notes import NOTES, without_values
from recsys_batch.spark.inputs.quarantine import FILTERED, OUTSIDE_WINDOW, STATUS
from recsys_batch.spark.inputs.sources import KEPT

EVENT_KEY = "event_key"
FAULT = "fault"
# Raised by whoever changes what `normalize_events` writes, so that files are read anew.
NORMALIZATION_VERSION = 5

_COLUMNS = tuple(Inputs.TYPES["events"])
# Faults that leave nobody to say on which day the event was.
_TIMELESS = ("missing_event_time", "clock_error", "future_event")
_SANE_DAYS = 366
# Each takes a dozen expressions of one aggregation.
_DATES_AT_ONCE = 50


def normalize_events(prepare: Prepare, key: bytes | None) -> Callable[[DataFrame], DataFrame]:
    """Return the normalization of raw events: columns of `Inputs.TYPES["events"]`, `EVENT_KEY` and `FAULT`.

    `key` turns user ids, session ids and event ids into pseudonyms, and takes their values out of the notes; None
    leaves them. `FAULT` is null where a row alone shows nothing wrong.
    """

    def normalize(raw: DataFrame) -> DataFrame:
        real_user = canonical_id("user_id", prepare.id_case)
        is_test = real_user.rlike(prepare.accounts.test_ids) if prepare.accounts.test_ids else F.lit(False)
        made = raw.withColumns(
            {
                "_is_test": F.coalesce(is_test, F.lit(False)),
                "_is_nobody": is_placeholder(real_user, prepare.placeholder_user_ids),
                "user_id": canonical_user("user_id", prepare, key) if key else real_user,
                "item_id": canonical_id("item_id", prepare.id_case),
                "query": normalized_query("query"),
                "event_type": F.lower(F.trim("event_type")),
            }
        )
        if key:
            hidden = {column: hashed_id(column, key) for column in MADE_OF_USERS}
            made = made.withColumns(hidden | {NOTES: without_values(("user_id", *MADE_OF_USERS))})
        made = made.withColumns({EVENT_KEY: _event_key(), FAULT: _fault(prepare)})
        return made.drop(KEPT, "_is_test", "_is_nobody")

    return normalize


def settings_key(prepare: Prepare, key: bytes | None) -> str:
    """Name everything in the config that `normalize_events` depends on; the secret key by a hash."""
    pseudonyms = hashlib.sha256(key).hexdigest() if key else ""
    parts = (
        str(NORMALIZATION_VERSION),
        prepare.id_case,
        prepare.accounts.test_ids,
        prepare.non_product_ids,
        prepare.plausible_from,
        str(prepare.clock_tolerance_minutes),
        prepare.timezone,
        json.dumps(prepare.placeholder_user_ids),
        pseudonyms,
    )
    return "\n".join(parts)


def place_in_window(events: DataFrame, ds: date, prepare: Prepare) -> DataFrame:
    """Turn `FAULT` into `STATUS` as of `ds`: null where the row is still in order, else why it is not used."""
    return events.withColumn(STATUS, _status_on(ds, prepare)).drop(FAULT)


def count_in_windows(raw: DataFrame, dates: Sequence[date], prepare: Prepare) -> dict[date, int]:
    """Return by date how many rows concern its night: those that `place_in_window` leaves neither filtered nor outside.

    `raw` is what `sources.read_table` gives. Only its columns of time and type are looked at, so this takes one pass
    without Python for every few dates; times are read in the session's zone.
    """
    counts: dict[date, int] = {}
    told = raw.withColumn("event_type", F.lower(F.trim("event_type")))
    told = told.select("event_time", "received_at", _fault_of_time(prepare).alias(FAULT))
    for first in range(0, len(dates), _DATES_AT_ONCE):
        some = dates[first : first + _DATES_AT_ONCE]
        concerned = (~F.coalesce(_status_on(ds, prepare).isin(FILTERED, OUTSIDE_WINDOW), F.lit(False)) for ds in some)
        row = told.agg(*(F.count_if(each).alias(ds.isoformat()) for ds, each in zip(some, concerned, strict=True)))
        (found,) = row.collect()
        counts |= {ds: int(found[ds.isoformat()]) for ds in some}
    return counts


def _status_on(ds: date, prepare: Prepare) -> Column:
    end = ds + timedelta(days=1)
    start = end - timedelta(days=prepare.lookback_days)

    def outside(column: str) -> Column:
        return (F.col(column) < F.lit(start)) | (F.col(column) >= F.lit(end))

    # A wrong clock says nothing of the day; when the row was received does. At midnight it belongs to the day before.
    received_outside = (F.col("received_at") <= F.lit(start)) | (F.col("received_at") > F.lit(end))
    far_ahead = F.col("event_time") >= F.lit(end + timedelta(days=_SANE_DAYS))
    timeless = F.col(FAULT).isin(*_TIMELESS)
    return (
        F.when(F.col(FAULT) == FILTERED, FILTERED)
        .when(timeless & F.coalesce(received_outside, F.lit(False)), OUTSIDE_WINDOW)
        .when(timeless | F.col(FAULT).isin("missing_event_type", "unknown_event_type"), F.col(FAULT))
        .when(F.col("received_at").isNull() & far_ahead, "clock_error")
        .when(outside("event_time"), OUTSIDE_WINDOW)
        .otherwise(F.col(FAULT))
    )


def _event_key() -> Column:
    """Return the event_id, where there is one, before 128 bits of hash over all other columns but the time of receipt.

    An id alone does not make a copy: shops let their counters start again every day.
    """
    # A row that was sent again is the same row.
    columns = [c for c in _COLUMNS if c not in ("event_id", "received_at")]
    # The hash passes nulls over, so that (null, a) would equal (a, null): which are null is hashed too.
    nulls = sum((F.col(c).isNull().cast("int") * 2**bit for bit, c in enumerate(columns)), F.lit(0))
    halves = (F.hex(F.xxhash64(F.lit(salt), nulls, *columns)) for salt in ("first", "second"))
    own = F.concat(F.lit("id:"), "event_id", F.lit(":"))
    return F.concat(F.coalesce(own, F.lit("")), *halves)


def _fault_of_time(prepare: Prepare) -> Column:
    """Return what is wrong with a row's type and times, null where nothing is; more conditions may be added."""
    time, received = F.col("event_time"), F.col("received_at")
    tolerance = F.make_dt_interval(secs=F.lit(prepare.clock_tolerance_minutes * 60))
    ahead = received.isNotNull() & (time > received + tolerance)
    far_ahead = received.isNotNull() & (time >= received + F.make_dt_interval(days=F.lit(_SANE_DAYS)))
    plausible_from = F.lit(date.fromisoformat(prepare.plausible_from))
    return (
        F.when(~F.col(KEPT), FILTERED)
        .when(F.col("event_type").isNull(), "missing_event_type")
        .when(~F.col("event_type").isin(*EVENT_TYPES), "unknown_event_type")
        .when(time.isNull(), "missing_event_time")
        .when((time < plausible_from) | far_ahead, "clock_error")
        .when(ahead, "future_event")
    )


def _fault(prepare: Prepare) -> Column:
    non_product = F.col("item_id").rlike(prepare.non_product_ids) if prepare.non_product_ids else F.lit(False)
    return (
        _fault_of_time(prepare)
        .when(F.col("user_id").isNull(), "missing_user_id")
        .when(F.col("_is_nobody"), "placeholder_user_id")
        .when(F.col("_is_test"), "test_account")
        .when(F.col("item_id").isNull() & (F.col("event_type") != "search"), "missing_item_id")
        .when(non_product, "non_product")
    )
