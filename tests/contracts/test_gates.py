"""Verdicts of checks, and what an operator reads when a gate fails."""

import math

import pytest

from recsys_batch.contracts.errors import GateFailedError
from recsys_batch.contracts.gates import Check, at_least, at_most, refuse_blocked


@pytest.mark.parametrize(
    ("value", "most", "least"),
    [(0.4, "pass", "block"), (0.5, "pass", "pass"), (0.6, "block", "pass"), (math.nan, "block", "block")],
)
def test_the_threshold_itself_passes_and_what_cannot_be_measured_does_not(value: float, most: str, least: str) -> None:
    assert at_most("t", "c", value, 0.5).verdict == most
    assert at_least("t", "c", value, 0.5).verdict == least


def test_a_check_may_only_warn() -> None:
    assert at_most("t", "c", 2, 1, otherwise="warn") == Check("t", "c", 2.0, 1.0, "warn")
    assert at_least("t", "c", 0, 1, otherwise="warn") == Check("t", "c", 0.0, 1.0, "warn")
    assert at_least("t", "c", 1, 1, otherwise="warn").verdict == "pass"


def test_nothing_is_refused_where_nothing_blocks() -> None:
    refuse_blocked([], "r1")
    refuse_blocked([at_most("t", "c", 0, 1), at_most("t", "c", 2, 1, otherwise="warn")], "r1")


def test_a_refusal_names_run_and_each_blocking_check_with_value_and_threshold() -> None:
    checks = [
        at_most("user_recommendations", "duplicate_rows", 3, 0),
        at_least("similar_items", "full_share", 0.25, 0.995),
        at_least("similar_items", "coverage", 1, 1),
        at_most("events", "fallback_share", 0.75, 0.5, otherwise="warn"),
    ]
    with pytest.raises(GateFailedError) as caught:
        refuse_blocked(iter(checks), "20260203-01234567-abcdef")
    message = str(caught.value)
    assert "run 20260203-01234567-abcdef: 2 gate(s) failed" in message
    assert "user_recommendations: duplicate_rows is 3, threshold 0: block" in message
    assert "similar_items: full_share is 0.25, threshold 0.995: block" in message
    assert "coverage" not in message
    assert "fallback_share" not in message


def test_a_value_just_off_its_threshold_does_not_read_like_the_threshold() -> None:
    # One of ten million users without a list: "coverage is 1, threshold 1: block" explains nothing.
    check = at_least("user_recommendations", "user_coverage", 9_999_999 / 10_000_000, 1.0)
    assert "0.9999999" in check.describe()
    assert "12345678" in at_most("t", "rows", 12_345_678, 12_345_677).describe()
