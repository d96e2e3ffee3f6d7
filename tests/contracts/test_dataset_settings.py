"""Settings of splits, and the manifest as JSON."""

import pytest
from pydantic import ValidationError

from recsys_batch.contracts.config.night import Datasets
from recsys_batch.contracts.config.splits import Split
from recsys_batch.contracts.datasets import DatasetManifest, PartSummary, refuse_leaks
from recsys_batch.contracts.gates import Check


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ValidationError, match="leave nothing to train on"):
        Split(name="x", kind="user", valid_share=0.5, test_share=0.5)


def test_two_splits_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="'time' stands twice"):
        Datasets(splits=[Split(name="time", kind="time"), Split(name="time", kind="user")])


def test_default_splits_are_one_of_each_kind():
    assert {split.kind for split in Datasets().splits} == {"time", "leave_last_k", "user", "cold_items", "cold_users"}


def test_manifest_survives_json():
    manifest = DatasetManifest(
        name="x",
        ds="2026-06-30",
        kind="time",
        seed=1,
        settings={"k": 1},
        source_run_id="茶",
        code_version="1",
        tables={"interactions": {"train": PartSummary(1, 2, 3, "-99999999999999999999")}},
        dropped={"interactions": {"no_user": 4}},
        item_texts={},
        position_curve=None,
        checks=(Check("interactions", "rows_after_ds", 0.0, 0.0, "pass"),),
    )
    assert DatasetManifest.from_json(manifest.to_json()) == manifest


def test_checks_that_warn_or_pass_are_no_leak(recwarn):
    refuse_leaks([Check("t", "a", 0, 0, "pass"), Check("t", "b", 0, 1, "warn")], "x", None)
