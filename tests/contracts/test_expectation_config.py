"""Expectations in the config file: what is refused, with the key at fault, and what an operator reads."""

from typing import Any

import pytest
from pydantic import ValidationError

from recsys_batch.contracts.config.night import Expectations
from recsys_batch.contracts.errors import ExpectationFailedError, GateFailedError, IncompleteInputError
from recsys_batch.contracts.gates import Check, Judged, refuse_unmet


def fault(table: str, **keys: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Expectations(**{table: [{"check": "rows", "block_below": 1}, keys]})
    return str(caught.value)


@pytest.mark.parametrize(
    ("table", "keys", "says"),
    [
        ("events", {"check": "null_share", "block_above": 0.1}, "column: null_share needs one"),
        ("events", {"check": "rows_to_weekday_median", "column": "query", "warn_below": 0.1}, "column: rows_to_week"),
        ("events", {"check": "null_share", "column": "prize", "block_above": 0.1}, "column: events has no column 'pri"),
        ("items", {"check": "null_share", "column": "query", "block_above": 0.1}, "column: items has no column 'query"),
        ("items", {"check": "out_of_range_share", "column": "title", "min": 0, "block_above": 0}, "'title' is a str"),
        (
            "items",
            {"check": "out_of_range_share", "column": "price", "block_above": 0},
            "min: out_of_range_share needs",
        ),
        (
            "items",
            {"check": "out_of_range_share", "column": "price", "min": 2, "max": 1, "block_above": 0},
            "min: 2 is",
        ),
        ("items", {"check": "null_share", "column": "price", "max": 1, "block_above": 0}, "max: only out_of_range"),
        ("items", {"check": "hours_since_newest", "column": "price", "warn_above": 1}, "needs a timestamp; 'price'"),
        ("items", {"check": "null_share_rise", "column": "price", "warn_above": 1}, "check: null_share_rise compares"),
        ("items", {"check": "unmatched_share", "warn_above": 1}, "check: unmatched_share is about events and reviews"),
        ("items", {"check": "repeated_share", "column": "attributes", "warn_above": 1}, "'attributes' is a map"),
        (
            "reviews",
            {"check": "unmatched_share", "column": "text", "warn_above": 1},
            "column: unmatched_share is about",
        ),
        ("events", {"check": "repeated_share", "column": "event_id", "scope": "window", "warn_above": 1}, "scope: rep"),
        ("events", {"check": "rows_to_weekday_median", "scope": "window", "warn_above": 1}, "scope: rows_to_weekday"),
        ("events", {"check": "quarantined_share", "column": "No!", "warn_above": 1}, "column: 'No!' is no quarantine"),
        ("events", {"check": "rows_to_weekday_median"}, "check: rows_to_weekday_median has no threshold"),
        ("events", {"check": "repeated_share", "block_above": 5}, "block_above: repeated_share is a share"),
        ("events", {"check": "repeated_share", "warn_above": 0.6, "block_above": 0.5}, "warn_above: is over block_abo"),
        (
            "events",
            {"check": "hours_since_newest", "column": "event_time", "warn_below": 1, "block_below": 2},
            "warn_b",
        ),
    ],
)
def test_a_faulty_expectation_names_its_key(table: str, keys: dict[str, Any], says: str) -> None:
    message = fault(table, **keys)
    assert f"expectations.{table}.1." in message
    assert says in message


def test_unknown_checks_and_keys_are_refused_and_so_is_the_same_check_twice() -> None:
    assert "Input should be 'rows'" in fault("events", check="row_count", block_below=1)
    assert "Extra inputs are not permitted" in fault("events", check="rows_to_weekday_median", blok_below=0.1)
    assert "expectations.events.1.check: rows stands twice" in fault("events", check="rows", warn_below=5)


def test_a_day_that_time_can_mend_is_not_ready_and_all_else_is_wrong() -> None:
    short = Judged(Check("events", "rows_to_weekday_median", 0.02, 0.3, "block"), retry=True)
    cause = Judged(Check("events", "repeated_share@day_before", 0.5, 0.3, "warn"))
    nulls = Judged(Check("events", "null_share_rise[user_id]", 0.4, 0.25, "block"))
    fine = Judged(Check("events", "repeated_share", 0.0, 0.5, "pass"), retry=True)
    refuse_unmet([fine, cause], "r1")
    with pytest.raises(IncompleteInputError) as caught:
        refuse_unmet(iter([short, cause, fine]), "r1")
    assert caught.value.exit_code == 10
    assert str(caught.value) == (
        "run r1: 1 expectation(s) of events not met, nothing was published, the previous release stands:\n"
        "  events: rows_to_weekday_median is 0.02, threshold 0.3: block\n"
        "  events: repeated_share@day_before is 0.5, threshold 0.3: warn\n"
        "The input has not arrived in full: retry when it has"
    )
    with pytest.raises(ExpectationFailedError, match=r"(?s)2 expectation.*null_share_rise\[user_id\] is 0.4") as failed:
        refuse_unmet([short, nulls], "r1")
    assert failed.value.exit_code == 20
    assert not isinstance(failed.value, GateFailedError)
