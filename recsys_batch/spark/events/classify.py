"""Events: every row of the input gets one status; what stays `used` is known, counted once, and in a session."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.spark.events.accounts import flag_accounts, treatment
from recsys_batch.spark.events.rows import EVENT_KEY, place_in_window
from recsys_batch.spark.inputs.notes import NOTES, REUSED, with_note
from recsys_batch.spark.inputs.quarantine import FILTERED, OUTSIDE_WINDOW, STATUS, USED
from recsys_batch.spark.session import MAX_BROADCAST_ROWS

DUPLICATE = "duplicate"
_COLUMNS = tuple(Inputs.TYPES["events"])
_LEFT_OUT = (FILTERED, OUTSIDE_WINDOW)


@dataclass(frozen=True)
class ClassifiedEvents:
    """The events of one date."""

    rows: DataFrame
    """All rows within the window, with `STATUS`, item_index (the canonical item's) and `EVENT_KEY`."""
    accounts: DataFrame
    """The flagged accounts."""
    left_out: dict[str, int]
    """Status -> number of rows that are not in `rows`: filtered by the source's `where`, outside the window."""


def classify_events(
    normalized: DataFrame, items: DataFrame, ds: date, prepare: Prepare, keep: Callable[[DataFrame, str], DataFrame]
) -> ClassifiedEvents:
    """Give every event row one status: used, or a quarantine reason; count those that the date does not concern.

    `normalized` comes from `event_rows.normalize_events`; `items` has item_id and canonical_index. Of duplicates (one
    user's rows of the same event_id, else all columns equal) the same one is always used. `keep` stores a frame under a
    name, as it is expensive to make and read many times, and returns it as stored.
    """
    placed = place_in_window(normalized, ds, prepare)
    concerned = placed.where(~F.coalesce(F.col(STATUS).isin(*_LEFT_OUT), F.lit(False)))
    left_out = placed.where(F.col(STATUS).isin(*_LEFT_OUT)).groupBy(STATUS).count().collect()
    # Everything below needs a user's rows together: they are brought together once, and kept for all who read them.
    per_user = concerned.where(F.col(STATUS).isNull()).repartition("user_id")
    held = keep(cut_sessions(mark_copies(per_user, prepare), prepare), "events")
    num_items = items.count()
    accounts = flag_accounts(held.where(F.col(STATUS).isNull()), num_items, prepare.accounts).persist()
    known = items.select("item_id", F.col("canonical_index").alias("item_index"))
    if num_items <= MAX_BROADCAST_ROWS:
        known = F.broadcast(known)
    located = _treat_accounts(held, accounts, prepare).join(known, "item_id", "left")
    status = (
        F.when(F.col(STATUS).isNotNull(), F.col(STATUS))
        .when(F.col("item_index").isNull() & F.col("item_id").isNotNull(), "unknown_item")
        .otherwise(USED)
    )
    columns = (*_COLUMNS, EVENT_KEY, "item_index", STATUS, NOTES)
    settled = located.withColumn(STATUS, status).select(*columns)
    faulty = concerned.where(F.col(STATUS).isNotNull()).withColumn("item_index", F.lit(None).cast("int"))
    # Counted, judged, profiled and weighed below: each would join and sort again.
    rows = keep(settled.unionByName(faulty.select(*columns)), "classified_events")
    return ClassifiedEvents(rows, accounts, {row[STATUS]: row["count"] for row in left_out})


def mark_copies(events: DataFrame, prepare: Prepare) -> DataFrame:
    """Set `STATUS` of all but one of a user's equal rows to `duplicate`, and of hasty clicks to `duplicate_click`.

    Rows that share an event_id and differ are no copies; all but the first of them get the note `REUSED`.
    A hasty click follows another click of the user on the item within `duplicate_click_seconds`.
    """
    copies = Window.partitionBy("user_id", EVENT_KEY).orderBy(*(F.col(c).asc_nulls_last() for c in _COLUMNS))
    # In the same order as the copies, so that one sort serves both: equal ids stand side by side.
    keys = Window.partitionBy("user_id").orderBy(EVENT_KEY)
    reused = (F.col("event_id") == F.lag("event_id").over(keys)) & (F.col(EVENT_KEY) != F.lag(EVENT_KEY).over(keys))
    once = (
        events.withColumn(STATUS, F.when(F.row_number().over(copies) > 1, DUPLICATE))
        .withColumn("_reused", F.coalesce(reused, F.lit(False)))
        .withColumn(NOTES, F.when(F.col("_reused"), with_note(REUSED, "event_id")).otherwise(F.col(NOTES)))
        .drop("_reused")
    )
    # Other rows stand in a group of their own, so that one sort serves all.
    is_click = (F.col("event_type") == "click") & F.col(STATUS).isNull()
    clicks = Window.partitionBy("user_id", F.when(is_click, F.col("item_id"))).orderBy("event_time", EVENT_KEY)
    pause = F.col("event_time").cast("double") - F.lag("event_time").over(clicks).cast("double")
    hasty = is_click & F.coalesce(pause <= prepare.duplicate_click_seconds, F.lit(False))
    return (
        once.withColumn("_hasty", hasty)
        .withColumn(STATUS, F.coalesce(STATUS, F.when(F.col("_hasty"), "duplicate_click")))
        .drop("_hasty")
    )


def cut_sessions(events: DataFrame, prepare: Prepare) -> DataFrame:
    """Give rows without a session_id one: a pause of the user longer than `session_gap_minutes` begins a new session.

    The id is made of the user and the session's first moment, so that later rows never rename an earlier session.
    """
    without = F.col("session_id").isNull()
    # Rows that carry an id keep it, and stand in one group per id so that they disturb no pause.
    log = Window.partitionBy("user_id", without).orderBy("event_time", EVENT_KEY)
    pause = F.col("event_time").cast("double") - F.lag("event_time").over(log).cast("double")
    begins = F.coalesce(pause > prepare.session_gap_minutes * 60, F.lit(True))
    first_moment = F.last(F.when(F.col("_begins"), F.col("event_time")), ignorenulls=True).over(
        log.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    )
    made = F.concat(F.lit("cut-"), F.hex(F.xxhash64("user_id", first_moment)))
    return events.withColumn("_begins", begins).withColumn("session_id", F.coalesce("session_id", made)).drop("_begins")


def _treat_accounts(events: DataFrame, accounts: DataFrame, prepare: Prepare) -> DataFrame:
    treated = treatment(prepare.accounts)
    flagged = F.broadcast(accounts.select("user_id", "kind"))
    known = events.join(flagged, "user_id", "left")
    excluded = [kind for kind, what in treated.items() if what == "exclude"]
    status = F.coalesce(STATUS, F.when(F.col("kind").isin(*excluded), F.col("kind"))) if excluded else F.col(STATUS)
    known = known.withColumn(STATUS, status)
    capped = [kind for kind, what in treated.items() if what == "cap"]
    if not capped:
        return known.drop("kind")
    over = F.col("kind").isin(*capped) & F.col(STATUS).isNull()
    day = Window.partitionBy("user_id", F.to_date("event_time"), over).orderBy("event_time", EVENT_KEY)
    place = F.row_number().over(day)
    return (
        known.withColumn("_place", place)
        .withColumn(
            STATUS,
            F.coalesce(STATUS, F.when(over & (F.col("_place") > prepare.accounts.cap_events_per_day), "over_cap")),
        )
        .drop("_place", "kind")
    )
