"""The catalog of tonight against those of the nights before."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.errors import ExpectationFailedError, IncompleteInputError
from recsys_batch.night.context import Run
from recsys_batch.night.prepare_items import _check_catalog
from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.runs import recent_counts, record_status
from tests.contracts.test_load_config import MINIMAL

DS = date(2026, 6, 30)


class Noted(list):
    """An intake that keeps the checks."""

    def __init__(self, lake, items, eligible):
        super().__init__()
        path = Path(lake.root.removeprefix("file:")).with_name("shop.yaml")
        path.write_text(MINIMAL)
        config = load_config(path, ["rerank.where=price > 0"], env={})
        summary = RunSummary("shop", DS.isoformat(), "r")
        summary.count("prepare", items=items, items_eligible=eligible)
        self.run = Run(lake.spark, config, DS, lake, "r", EncoderSettings("model"), "f" * 16, summary)

    def note(self, checks):
        self.extend(checks)


def nights(lake, *numbers, state="published"):
    for back, number in enumerate(numbers, 1):
        counts = {"prepare.items": number, "prepare.items_eligible": number - 10}
        record_status(lake, DS - timedelta(days=back), f"run{back}", state, "", {}, counts)


def test_a_catalog_that_broke_off_has_not_arrived(lake):
    nights(lake, 100, 90, 400)  # median 100
    nights(lake, 5, state="failed")
    with pytest.raises(IncompleteInputError, match=r"is 0.69.*\n.*69 tonight, 100 in the nights before"):
        _check_catalog(Noted(lake, 69, 69), None)
    intake = Noted(lake, 80, 80)
    _check_catalog(intake, None)
    assert [(c.check, c.value, c.verdict) for c in intake] == [
        ("items_to_recent", 0.8, "warn"),
        ("items_eligible_to_recent", pytest.approx(80 / 90), "warn"),
    ]
    with pytest.raises(ExpectationFailedError, match="items_eligible_to_recent"):
        _check_catalog(Noted(lake, 100, 44), None)


def test_a_first_night_and_a_tiny_shop_are_held_against_nothing(lake):
    first = Noted(lake, 3, 3)
    _check_catalog(first, None)
    nights(lake, 19)
    second = Noted(lake, 3, 3)
    _check_catalog(second, None)
    assert first == second == []


def test_only_nights_before_the_date_count(lake):
    nights(lake, 50, 60)
    record_status(lake, DS, "later", "published", "", {}, {"prepare.items": 7.0})
    assert [each["prepare.items"] for each in recent_counts(lake, DS, 7, {})] == [50, 60]
    assert [each["prepare.items"] for each in recent_counts(lake, DS, 1, {})] == [50]


def test_a_night_that_was_rolled_back_is_no_measure(lake):
    nights(lake, 50, 60)
    yesterday = DS - timedelta(days=1)
    # Published after run1, and taken back: run1 stands again.
    record_status(lake, yesterday, "spoiled", "published", "", {}, {"prepare.items": 7.0})
    assert [each["prepare.items"] for each in recent_counts(lake, DS, 7, {yesterday: "run1"})] == [50, 60]
    assert [each["prepare.items"] for each in recent_counts(lake, DS, 7, {yesterday: "spoiled"})] == [7, 60]
    # Of a run that a later one rolled forward nothing is known.
    assert [each["prepare.items"] for each in recent_counts(lake, DS, 7, {yesterday: "other"})] == [60]


def test_a_catalog_of_which_nothing_can_be_had_says_why(lake, frame):
    types = {"item_id": "string", "available": "boolean", "price": "double", "eligible": "boolean"}
    rows = [{"item_id": "a", "available": False, "price": 1.0}, {"item_id": "b", "available": True, "price": 0.0}]
    with pytest.raises(ExpectationFailedError, match=r"0 of 2 items .*: 1 are not available .*, 1 are kept out by"):
        _check_catalog(Noted(lake, 2, 0), frame(types, rows))
