"""What the counts of an input mean: shares, medians, verdicts, and what cannot be judged."""

from datetime import UTC, date, datetime, timedelta
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_batch.contracts.config.prepare import Expectation
from recsys_batch.rules.expectations import (
    DEFAULTS,
    REPEATED,
    ROWS,
    Count,
    Measured,
    counts_needed,
    evaluate_expectations,
    expectations_of,
    times_needed,
)

DS = date(2026, 6, 30)  # a Tuesday
MEDIAN = Expectation(check="rows_to_weekday_median", warn_below=0.6, block_below=0.3, warn_above=3.0, retry=True)
RISE = Expectation(check="null_share_rise", column="item_id", warn_above=0.1, block_above=0.25)
NULL, DUE = Count("null", "item_id"), Count("due", "item_id")


def back(days: int) -> date:
    return DS - timedelta(days=days)


def measured(days=None, undated=None, newest=None, table="events") -> Measured:
    return Measured(table, DS, days or {}, undated or {}, newest or {})


def weekdays(*rows: int, today: int) -> Measured:
    """Rows of the same weekday one, two, ... weeks before."""
    earlier = {back(7 * week): {ROWS: n} for week, n in enumerate(rows, 1)}
    return measured({DS: {ROWS: today}} | earlier)


def judge(expectation: Expectation, m: Measured):
    (judged,) = evaluate_expectations([expectation], m)
    return judged.check


def null_days(today: float, *before: float) -> Measured:
    """Thousand rows a day, of which these shares have no item id, yesterday first."""
    shares = enumerate((today, *before))
    return measured({back(d): {ROWS: 1000, DUE: 1000, NULL: round(1000 * share)} for d, share in shares})


@pytest.mark.parametrize(
    ("today", "verdict", "threshold"),
    [
        (0, "block", 0.3),
        (20, "block", 0.3),
        (29, "block", 0.3),
        (30, "warn", 0.6),  # not below 0.3: a threshold itself is kept
        (59, "warn", 0.6),
        (60, "pass", 0.6),
        (100, "pass", 0.6),
        (300, "pass", 3.0),
        (301, "warn", 3.0),
        (5000, "warn", 3.0),
    ],
)
def test_rows_are_held_against_the_median_of_the_same_weekday(today: int, verdict: str, threshold: float) -> None:
    # The median of 80, 90, 110 and 500 is (90 + 110) / 2 = 100.
    check = judge(MEDIAN, weekdays(90, 500, 80, 110, today=today))
    assert (check.table, check.check) == ("events", "rows_to_weekday_median")
    assert check.value == pytest.approx(today / 100)
    assert (check.verdict, check.threshold) == (verdict, threshold)


def test_other_weekdays_and_weeks_long_ago_do_not_count() -> None:
    m = weekdays(*[100] * 8, 10_000, 10_000, 10_000, today=100)
    others = {back(d): {ROWS: 7} for d in range(1, 56) if d % 7}
    assert judge(MEDIAN, measured({**m.days, **others})).value == 1.0


def test_repeats_are_no_rows_of_their_own() -> None:
    # Last week's file came twice: 200 rows, 100 of them repeats.
    days = weekdays(100, 100, 100, today=90).days | {back(7): {ROWS: 200, REPEATED: 100}}
    assert judge(MEDIAN, measured(days)).value == pytest.approx(90 / 100)


@pytest.mark.parametrize(
    ("m", "found", "needed"),
    [
        (weekdays(100, 100, today=0), 2, 3),  # a young log
        (measured({back(1): {ROWS: 900}}), 0, 3),
        (weekdays(*[0] * 8, 1, today=0), 0, 5),  # closed on this weekday: never a row in eight weeks
        (weekdays(0, 90, 0, 80, 0, 0, 0, 70, today=0), 3, 5),  # opened now and then
        (measured(), 0, 3),
    ],
)
def test_a_young_log_and_a_day_on_which_the_shop_is_closed_are_not_judged(m, found: int, needed: int) -> None:
    check = judge(MEDIAN, m)
    assert check.check == "rows_to_weekday_median.to_judge"
    assert (check.value, check.threshold, check.verdict) == (found, needed, "pass")


def test_a_few_lost_weeks_do_not_hide_a_lost_day() -> None:
    # Three of eight Tuesdays without rows: the median of 0 0 0 100 100 100 100 100 is 100.
    assert judge(MEDIAN, weekdays(100, 0, 100, 0, 100, 0, 100, 100, today=0)).verdict == "block"


def test_a_median_of_few_rows_is_no_measure() -> None:
    rule = MEDIAN.model_copy(update={"min_rows": 20})
    assert judge(rule, weekdays(19, 19, 19, today=0)).check == "rows_to_weekday_median.to_judge"
    assert judge(rule, weekdays(20, 20, 20, today=0)).verdict == "block"


@given(st.lists(st.integers(1, 1000), min_size=3, max_size=8), st.integers(0, 1000))
def test_the_ratio_is_that_of_the_plain_definition(earlier: list[int], today: int) -> None:
    assert judge(MEDIAN, weekdays(*earlier, today=today)).value == today / median(earlier)


def test_a_column_40_percent_null_overnight_blocks() -> None:
    check = judge(RISE, null_days(0.4, *[0.01] * 28))
    assert (check.check, check.verdict, check.threshold) == ("null_share_rise[item_id]", "block", 0.25)
    assert check.value == pytest.approx(0.4 - 0.01)
    assert judge(RISE, null_days(0.13, *[0.01] * 28)).verdict == "warn"
    assert judge(RISE, null_days(0.05, *[0.01] * 28)).verdict == "pass"


def test_a_column_that_is_often_null_is_held_against_its_worse_days() -> None:
    # 28 days from 0.01 to 0.28: 90% of them stay within the 26th, 0.26 (ceil(0.9 * 28) = 26).
    shares = [n / 100 for n in range(1, 29)]
    assert judge(RISE, null_days(0.35, *shares)).value == pytest.approx(0.35 - 0.26)
    assert judge(RISE, null_days(0.35, *reversed(shares))).value == pytest.approx(0.35 - 0.26)
    # Always null: never given.
    assert judge(RISE, null_days(1.0, *[1.0] * 28)).value == 0.0
    assert judge(RISE, null_days(0.0, *[1.0] * 28)).value == -1.0


def test_two_bad_days_in_the_past_do_not_make_a_third_one_usual() -> None:
    assert judge(RISE, null_days(0.4, 0.4, 0.4, *[0.0] * 26)).verdict == "block"


def test_a_rise_needs_three_earlier_days_with_rows_enough() -> None:
    check = judge(RISE, null_days(1.0, 0.0, 0.0))
    assert (check.check, check.value, check.threshold) == ("null_share_rise[item_id].to_judge", 2, 3)
    rule = RISE.model_copy(update={"min_rows": 1001})
    assert judge(rule, null_days(1.0, 0.0, 0.0, 0.0)).value == 1000
    # Days further back than 28 are not compared.
    far = {back(d): {ROWS: 10, DUE: 10} for d in (29, 30, 31)}
    assert judge(RISE, measured({DS: {ROWS: 10, DUE: 10, NULL: 10}} | far)).value == 0


def test_shares_are_of_the_scope() -> None:
    days = {DS: {ROWS: 10, REPEATED: 1}, back(2): {ROWS: 40, REPEATED: 20}, back(3): {ROWS: 50, REPEATED: 4}}
    m = measured(days, undated={ROWS: 100})

    def share(scope: str):
        return judge(Expectation(check="repeated_share", scope=scope, block_above=0.5), m)

    assert (share("day").check, share("day").value) == ("repeated_share", 1 / 10)
    # The newest day before with rows: yesterday the shop was closed.
    assert (share("day_before").check, share("day_before").value) == ("repeated_share@day_before", 20 / 40)
    assert share("window").value == (1 + 20 + 4) / (10 + 40 + 50 + 100)


def test_every_share_divides_its_own_counts() -> None:
    counts = {
        ROWS: 100,
        Count("quarantined"): 30,
        Count("quarantined", "bot"): 10,
        Count("unmatched"): 8,
        Count("given", "item_id"): 80,
        Count("distinct", "item_id"): 60,
        Count("out_of_range", "price", 0.0, None): 5,
        Count("given", "price"): 50,
        Count("null", "price"): 50,
        Count("due", "price"): 100,
    }
    expected = {
        "quarantined_share": 30 / 100,
        "quarantined_share[bot]": 10 / 100,
        "unmatched_share": 8 / 80,
        "repeated_share[item_id]": 1 - 60 / 80,
        "out_of_range_share[price]": 5 / 50,
        "null_share[price]": 50 / 100,
        "rows": 100,
    }
    declared = [
        Expectation(check="quarantined_share", block_above=1),
        Expectation(check="quarantined_share", column="bot", block_above=1),
        Expectation(check="unmatched_share", block_above=1),
        Expectation(check="repeated_share", column="item_id", block_above=1),
        Expectation(check="out_of_range_share", column="price", min=0, block_above=1),
        Expectation(check="null_share", column="price", block_above=1),
        Expectation(check="rows", block_below=1),
    ]
    assert counts_needed(declared) == counts.keys() | {REPEATED}
    # Items have no days: whatever the scope, all rows count.
    judged = evaluate_expectations(declared, measured(undated=counts, table="items"))
    assert {j.check.check: j.check.value for j in judged} == pytest.approx(expected)


def test_freshness_is_hours_to_the_end_of_the_day() -> None:
    fresh = Expectation(check="hours_since_newest", column="updated_at", warn_above=24, block_above=48)
    assert times_needed([fresh, MEDIAN]) == {"updated_at"}
    assert counts_needed([fresh]) == {ROWS}
    newest = {"updated_at": datetime(2026, 6, 29, 12, 30, tzinfo=UTC)}
    check = judge(fresh, measured(newest=newest, table="items"))
    assert (check.value, check.verdict) == (35.5, "warn")
    assert judge(fresh, measured(table="items")).check == "hours_since_newest[updated_at].to_judge"


def test_no_rows_are_no_share_but_a_number_of_rows() -> None:
    check = judge(Expectation(check="null_share", column="user_id", block_above=0), measured())
    assert (check.check, check.value, check.threshold) == ("null_share[user_id].to_judge", 0, 1)
    check = judge(Expectation(check="rows", block_below=1), measured())
    assert (check.value, check.verdict) == (0, "block")


def test_defaults_are_valid_and_give_way_to_what_is_declared_anew() -> None:
    for table, expectations in DEFAULTS.items():
        assert [e.fault_in(table) for e in expectations] == [""] * len(expectations)
        assert len({e.name for e in expectations}) == len(expectations)
    looser = Expectation(check="rows_to_weekday_median", block_below=0.05)
    own = Expectation(check="rows", block_below=1)
    merged = expectations_of("events", [looser, own])
    assert len(merged) == len(DEFAULTS["events"]) + 1
    assert [e for e in merged if e.check == "rows_to_weekday_median"] == [looser]
    assert expectations_of("events", [own], defaults=False) == [own]
