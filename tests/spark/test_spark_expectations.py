"""Counting for expectations, and the data profile: one small frame each, against counts made by hand."""

from datetime import UTC, date, datetime, timedelta

import pytest

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.prepare import Expectation, Prepare
from recsys_batch.rules.expectations import REPEATED, ROWS, Count, counts_needed, evaluate_expectations, expectations_of
from recsys_batch.spark.inputs.expectations import measure
from recsys_batch.spark.inputs.notes import NOTES, NOTES_TYPE
from recsys_batch.spark.inputs.profile import profile_table

DS = date(2026, 6, 30)
PREPARE = Prepare(lookback_days=60)
CLASSIFIED = Inputs.TYPES["events"] | {"item_index": "int", "status": "string", NOTES: NOTES_TYPE}
TODAY = "2026-06-30 10:00:00"


def events(n: int, status: str = "used", **columns):
    return [{"user_id": "u", "item_id": "i", "item_index": 1, "event_type": "view", "status": status} | columns] * n


def at(day: int, clock: str = "10:00:00") -> str:
    return f"2026-06-{day:02d} {clock}"


@pytest.fixture
def count_jobs(spark):
    def count(action):
        before = set(spark.sparkContext.statusTracker().getJobIdsForGroup("counted"))
        spark.sparkContext.setJobGroup("counted", "counted")
        try:
            return action(), len(set(spark.sparkContext.statusTracker().getJobIdsForGroup("counted")) - before)
        finally:
            spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)

    return count


def test_one_pass_counts_every_day_and_leaves_out_what_is_outside(frame, count_jobs) -> None:
    rows = [
        *events(6, event_time=TODAY, received_at=at(30, "11:00:00")),
        *events(4, "missing_user_id", event_time=at(30, "23:59:59.999999"), user_id=None),
        *events(3, "duplicate", event_time=at(29)),
        *events(3, event_time=at(29)),
        *events(2, event_time=TODAY, event_type="search", item_id=None, item_index=None, query="red"),
        *events(1, event_time=TODAY, event_type="search", item_id=None, item_index=None),
        *events(1, "unknown_item", event_time=TODAY, item_id="x", item_index=None),
        *events(1, "non_product", event_time=TODAY, item_id="POST", item_index=None),
        *events(2, event_time=TODAY, event_type="rating", rating=9.0),
        *events(1, event_time=TODAY, event_type="rating", rating=float("nan")),
        # No time of their own: the day of receipt, which at midnight is the day before; else no day.
        *events(2, "missing_event_time", received_at="2026-07-01 00:00:00"),
        *events(1, "clock_error", event_time="2003-01-01 00:00:00", received_at=at(29)),
        *events(1, "future_event", event_time=TODAY, received_at=at(29)),
        *events(5, "missing_event_time"),
        # Not part of anything.
        *events(7, "filtered", event_time=TODAY, user_id=None),
        *events(7, "outside_window", event_time="2020-01-01 00:00:00", user_id=None),
    ]
    declared = [
        *expectations_of("events", []),
        Expectation(check="hours_since_newest", column="event_time", warn_above=10),
        Expectation(check="hours_since_newest", column="received_at", warn_above=10),
        Expectation(check="unmatched_share", block_above=0.5),
        Expectation(check="out_of_range_share", column="rating", min=1, max=5, block_above=0.5),
        Expectation(check="quarantined_share", block_above=0.5),
        Expectation(check="quarantined_share", column="non_product", block_above=0.5),
        Expectation(check="repeated_share", column="item_id", block_above=1),
    ]
    classified = frame(CLASSIFIED, rows).persist()
    classified.count()
    m, num_jobs = count_jobs(lambda: measure(classified, "events", declared, DS, PREPARE))
    assert num_jobs <= 3  # one aggregation: its map side, the distinct ids, its result
    assert {day: counts[ROWS] for day, counts in m.days.items()} == {
        DS: 6 + 4 + 3 + 1 + 1 + 3 + 2,
        date(2026, 6, 29): 8,
    }
    assert m.undated[ROWS] == 5
    assert m.undated[Count("null", "event_time")] == 5
    today, before = m.days[DS], m.days[date(2026, 6, 29)]
    assert (today[REPEATED], before[REPEATED]) == (0, 3)
    assert (today[Count("null", "user_id")], today[Count("due", "user_id")]) == (4, 20)
    assert (today[Count("null", "item_id")], today[Count("due", "item_id")]) == (0, 20 - 3)
    assert (today[Count("null", "query")], today[Count("due", "query")]) == (1, 3)
    assert (today[Count("null", "event_time")], before[Count("null", "event_time")]) == (2, 0)
    assert (today[Count("unmatched")], today[Count("given", "item_id")]) == (1, 17)
    assert (today[Count("out_of_range", "rating", 1.0, 5.0)], today[Count("given", "rating")]) == (3, 3)
    assert (today[Count("quarantined")], today[Count("quarantined", "non_product")]) == (4 + 1 + 1 + 2, 1)
    assert today[Count("distinct", "item_id")] == 3  # i, x, POST
    # Of used rows: those with a wrong clock, or of nobody, say nothing of how fresh the log is.
    assert m.newest["event_time"] == datetime(2026, 6, 30, 10, tzinfo=UTC)
    assert m.newest["received_at"] == datetime(2026, 6, 30, 11, tzinfo=UTC)
    assert set(today) == counts_needed(declared)


def test_yesterdays_file_again_is_a_short_day_with_its_cause(frame) -> None:
    days = [DS - timedelta(days=back) for back in range(1, 30)]
    rows = [row for day in days for row in events(30, event_time=f"{day} 10:00:00")]
    again = events(30, "duplicate", event_time=at(29))
    m = measure(frame(CLASSIFIED, rows + again), "events", expectations_of("events", []), DS, PREPARE)
    verdicts = {
        j.check.check: (j.check.verdict, j.check.value, j.retry)
        for j in evaluate_expectations(expectations_of("events", []), m)
        if j.check.verdict != "pass"
    }
    assert verdicts == {
        "rows_to_weekday_median": ("block", 0.0, True),
        "repeated_share@day_before": ("warn", 30 / 60, False),
    }


def test_items_have_no_days(frame) -> None:
    types = Inputs.TYPES["items"] | {"status": "string", NOTES: NOTES_TYPE}
    rows = [
        {"item_id": "1", "price": -1.0, "updated_at": TODAY, "status": "used"},
        {"item_id": "1", "price": 2.0, "status": "used"},
        {"item_id": "2", "status": "missing_title"},
        {"price": 5.0, "status": "filtered"},
    ]
    declared = [
        Expectation(check="repeated_share", column="item_id", warn_above=0.5),
        Expectation(check="out_of_range_share", column="price", min=0, warn_above=0.1),
        Expectation(check="quarantined_share", column="missing_title", warn_above=0.5),
        Expectation(check="hours_since_newest", column="updated_at", warn_above=48),
        Expectation(check="rows", block_below=4),
    ]
    m = measure(frame(types, rows), "items", declared, DS, PREPARE)
    values = {j.check.check: j.check.value for j in evaluate_expectations(declared, m)}
    assert values == pytest.approx(
        {
            "repeated_share[item_id]": 1 - 2 / 3,
            "out_of_range_share[price]": 1 / 2,
            "quarantined_share[missing_title]": 1 / 3,
            "hours_since_newest[updated_at]": 14,
            "rows": 3,
        }
    )


def test_the_profile_of_events_counts_masks_and_is_always_the_same(frame) -> None:
    secret = "customer-anna-17850"
    rows = [
        *(
            {"user_id": f"user-{n % 4}", "item_id": f"item-{min(n, 8)}", "item_index": 1, "event_type": "view"}
            | {"event_time": at(1 + n), "status": "used", "quantity": float(n), "domain": "a" if n % 2 else "b"}
            for n in range(16)
        ),
        *events(7, "bot", event_time=at(20), user_id=secret, session_id=secret, query="mail jo@x.example 4711"),
        *events(2, "missing_event_type", event_time=at(21), event_type=None, user_id=secret),
        *events(3, "filtered", event_time=at(22), event_type="cart", user_id=secret, domain="c"),
    ]
    classified = frame(CLASSIFIED, rows)
    p = profile_table(classified, "events", DS, PREPARE, num_samples=3)
    assert p == profile_table(classified.repartition(7), "events", DS, PREPARE, num_samples=3)
    assert list(p.statuses.items()) == [("used", 16), ("bot", 7), ("filtered", 3), ("missing_event_type", 2)]
    assert p.rows == 28
    columns = {c.name: c for c in p.columns}
    # 25 rows are kept: 16 used, 7 of the bot, 2 without a type.
    assert columns["query"].null_share == pytest.approx(18 / 25)
    assert columns["quantity"].quantiles[2] in (7.0, 8.0)
    assert (columns["quantity"].low, columns["quantity"].high, columns["quantity"].mean) == ("0", "15", 7.5)
    assert columns["domain"].top == (("a", 8), ("b", 8))
    assert columns["event_type"].top == (("view", 23),)
    assert columns["user_id"].distinct == 5
    assert (columns["event_time"].low, columns["event_time"].high) == ("2026-06-01 10:00", "2026-06-21 10:00")
    assert p.days is not None
    assert (p.days.days_a_step, p.days.starts[0], p.days.last) == (1, date(2026, 6, 1), date(2026, 6, 21))
    assert p.days.by_type["view"] == (1,) * 16 + (0,) * 3 + (7, 0)
    assert p.days.by_type["other"] == (0,) * 20 + (2,)
    # Used events: items 0 to 7 once each, item 8 eight times; four users with four events each.
    assert p.long_tail is not None
    assert p.long_tail.curve == ((1, 8 / 16), (9, 1.0))
    assert [(b.low, b.high, b.rows) for b in p.long_tail.users_by_events] == [(1, 2, 0), (2, 4, 0), (4, 8, 4)]
    assert {q.reason: (q.rows, len(q.samples)) for q in p.quarantine} == {"bot": (7, 3), "missing_event_type": (2, 2)}
    assert p.quarantine[0].samples[0]["user_id"] == f"c…({len(secret)})"
    assert p.quarantine[0].samples[0]["query"] == "mail …@… ####"
    assert secret not in repr(p)
    assert "anna" not in repr(p)


def test_the_profile_of_items_bins_prices_and_that_of_no_rows_is_empty(frame) -> None:
    types = Inputs.TYPES["items"] | {"status": "string", NOTES: NOTES_TYPE}
    prices = [1.0, 1.5, 1.6, 10.0, 0.0, -1.0, None]
    rows = [{"item_id": str(n), "title": "ab" * n, "price": price, "status": "used"} for n, price in enumerate(prices)]
    rows[0] |= {"attributes": {"a": "1", "b": "2"}, "available": True}
    p = profile_table(frame(types, rows), "items", DS, PREPARE)
    # Five bins a decade: from 1, 1.58, 2.51, 3.98, 6.31 and 10 on. What costs nothing has no logarithm.
    assert [b.rows for b in p.prices] == [2, 1, 0, 0, 0, 1]
    assert [round(b.low, 2) for b in p.prices] == [1.0, 1.58, 2.51, 3.98, 6.31, 10.0]
    columns = {c.name: c for c in p.columns}
    assert (columns["attributes"].mean, columns["available"].mean) == (2, 1)
    assert columns["title"].quantiles[2] == 6  # lengths 0, 2, 4, 6, 8, 10, 12
    assert (p.days, p.long_tail, p.quarantine) == (None, None, ())
    empty = profile_table(frame(CLASSIFIED, []), "events", DS, PREPARE)
    assert (empty.rows, empty.days, empty.long_tail, empty.statuses) == (0, None, None, {})
    assert {c.null_share for c in empty.columns} == {0}
