"""Exclusions: which rows count, and that what they name is masked like what was seen."""

import pytest

from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.spark.catalog.exclusions import classify_exclusions
from recsys_batch.spark.retrieval.profiles import with_masked


@pytest.mark.parametrize("partitions", [1, 4])
def test_exclusions_are_classified(raw, frame, partitions) -> None:
    items = frame({"item_id": "string"}, [{"item_id": "A"}, {"item_id": "B"}])
    rows = [
        {"user_id": " u1 ", "item_id": "a"},
        {"user_id": "u1", "item_id": "A"},
        {"request_id": "r1", "item_id": "B"},
        {"user_id": "u1", "request_id": "r1", "item_id": "B"},
        {"item_id": "A"},
        {"user_id": "nan", "item_id": "A"},
        {"user_id": "u2", "item_id": "gone"},
        {"user_id": "u2"},
        {"user_id": "u3", "item_id": "B", "_kept": False},
    ]
    prepare = Prepare(id_case="upper")
    found = classify_exclusions(raw("exclusions", rows).repartition(partitions), items, prepare).collect()
    assert sorted((r.user_id or "", r.request_id or "", r.item_id or "", r.status) for r in found) == sorted(
        [
            ("U1", "", "A", "used"),
            ("U1", "", "A", "duplicate"),
            ("", "r1", "B", "used"),
            ("U1", "r1", "B", "two_keys"),
            ("", "", "A", "missing_key"),
            ("", "", "A", "missing_key"),
            ("U2", "", "GONE", "unknown_item"),
            ("U2", "", "", "missing_item_id"),
            ("U3", "", "B", "filtered"),
        ]
    )


def test_a_pseudonym_hides_who_excludes(raw, frame) -> None:
    items = frame({"item_id": "string"}, [{"item_id": "A"}])
    rows = raw("exclusions", [{"user_id": "u1", "item_id": "A"}])
    (row,) = classify_exclusions(rows, items, Prepare(pseudonymize_with="KEY"), b"k" * 32).collect()
    assert (len(row.user_id), row.status) == (32, "used")


def test_what_is_excluded_is_masked_beside_what_was_seen(frame) -> None:
    profiles = frame(
        {"key": "string", "seen": "array<int>", "vector": "array<float>"},
        [{"key": "u", "seen": [3, 1]}, {"key": "v", "seen": []}, {"key": "w", "seen": [5]}],
    )
    masked = frame(
        {"key": "string", "item_index": "int"},
        [{"key": key, "item_index": item} for key, item in (("u", 1), ("u", 7), ("v", 2), ("nobody", 4), (None, 6))],
    )
    made = with_masked(profiles, masked)
    assert made.columns == profiles.columns
    assert {row.key: row.seen for row in made.collect()} == {"u": [1, 3, 7], "v": [2], "w": [5]}
