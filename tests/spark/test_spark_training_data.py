"""Exported examples: which item is of which part, what a session is, and that a reader without Spark sees the same."""

from datetime import date

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.datasets import DatasetManifest, ManifestNotFoundError
from recsys_batch.spark.datasets.export import (
    click_examples,
    export_examples,
    item_examples,
    query_item_examples,
    session_examples,
)
from recsys_batch.spark.lake.manifests import write_manifest
from recsys_batch.spark.lake.prepared import replace_prepared
from recsys_batch.training.examples.files import ExampleFiles

DS = date(2026, 6, 30)
ITEMS = {
    "item_id": "string",
    "item_index": "int",
    "canonical_index": "int",
    "title": "string",
    "brand": "string",
    "category": "string",
}
TEXTS = {"item_id": "string", "text": "string", "category": "string", "valid_from": "timestamp"}
STEPS = {
    "user_id": "string",
    "item_id": "string",
    "session_id": "string",
    "event_time": "timestamp",
    "split": "string",
}
PAIRS = {
    "query": "string",
    "item_id": "string",
    "user_id": "string",
    "label": "int",
    "label_weight": "double",
    "split": "string",
}
RATINGS = {"item_id": "string", "user_id": "string", "rating": "double", "text": "string", "split": "string"}


@pytest.fixture(scope="module")
def steps(frame):
    def step(user: str, item: str, session: str | None, minute: int, split: str = "train") -> dict[str, object]:
        return {
            "user_id": user,
            "item_id": item,
            "session_id": session,
            "event_time": f"2026-06-01 10:{minute:02}:00",
            "split": split,
        }

    rows = [
        *(step("u1", item, "s1", minute) for minute, item in enumerate(["b", "a", "a", "b"])),
        *(step("u2", item, "s1", minute) for minute, item in enumerate(["a", "c"])),  # another user's session
        *(step("u1", "v", "s2", minute, "valid") for minute in range(2)),  # one item only
        *(step("u3", item, None, minute) for minute, item in enumerate(["a", "b"])),
        *(step("u4", item, "s9", minute, "test") for minute, item in enumerate(["v", "t"])),
    ]
    return frame(STEPS, rows)


@pytest.fixture(scope="module")
def items(frame):
    rows = [
        {"item_id": "a", "title": "Red mug", "brand": "Old", "category": "Kitchen > Mugs > Red"},
        {"item_id": "a2", "title": "red  mug", "canonical_index": 0},
        {"item_id": "v", "title": "Blue cup", "brand": "Oak", "category": "Kitchen > Cups"},
        {"item_id": "t", "title": "手机", "category": None},
    ]
    return frame(ITEMS, [{"item_index": k, "canonical_index": k} | row for k, row in enumerate(rows)])


@pytest.fixture(scope="module")
def texts(frame):
    old = {"text": "Red mug. Elm", "category": "Kitchen > Mugs > Red", "valid_from": "2026-01-01 00:00:00"}
    return frame(TEXTS, [{"item_id": "a"} | old, {"item_id": "a2"} | old])


def test_items_of_each_part(items, texts, steps) -> None:
    found = {tuple(row) for row in item_examples(texts, items, steps, DS, 2).collect()}
    assert found == {
        ("a", "Red mug. Elm", "Kitchen > Mugs", "train"),  # as training knew it
        ("v", "Blue cup. Oak", "Kitchen > Cups", "valid"),  # met in valid and in test
        ("t", "手机", None, "test"),
    }


def test_sessions(steps) -> None:
    found = sorted((tuple(row.item_ids), row.split) for row in session_examples(steps).collect())
    assert found == [(("a", "c"), "train"), (("b", "a", "b"), "train"), (("v", "t"), "test")]


@pytest.fixture(scope="module")
def pairs(frame):
    rows = [("mug", "a", 1, 2.0), ("mug", "a", 1, 1.5), ("mug", "a", 0, 1.0), ("cup", "v", 0, 1.0)]
    named = [
        {"query": query, "item_id": item, "user_id": "u1", "label": label, "label_weight": weight, "split": "train"}
        for query, item, label, weight in rows
    ]
    return frame(PAIRS, named)


def test_chosen_pairs_are_summed_up(pairs) -> None:
    rows = query_item_examples(click_examples(pairs)).collect()
    assert [tuple(row) for row in rows] == [("mug", "a", 2.0 + 1.5, "train")]


def test_an_unfinished_dataset_is_not_exported(lake) -> None:
    with pytest.raises(ManifestNotFoundError, match="not finished"):
        export_examples(lake, "time", DS, 2)


def test_export_is_read_without_spark(frame, lake, items, texts, steps, pairs) -> None:
    rated = {"item_id": "v", "user_id": "u4", "rating": 4.0, "text": "Fine.", "split": "valid"}
    ratings = frame(RATINGS, [rated, {"item_id": "a", "rating": 5.0, "split": "train"}])
    tables = {
        "datasets/time/training_texts": texts,
        "datasets/time/interactions": steps,
        "datasets/time/query_items": pairs,
        "datasets/time/ratings": ratings,
    }
    for name, rows in tables.items():
        lake.replace_ds(name, rows.withColumn("ds", F.lit(DS)), DS)
    replace_prepared(lake, Tables.ITEMS, items, DS, "run")
    write_manifest(lake, DatasetManifest("time", DS.isoformat(), "time", 0, {}, "run", "code", {}, {}, {}, None))
    files = ExampleFiles(export_examples(lake, "time", DS, 2))
    found = files.clicks("train")
    assert list(zip(found.queries, found.items, found.labels.tolist(), found.weights.tolist(), strict=True)) == [
        ("cup", "Blue cup. Oak", 0, 1.0),
        ("mug", "Red mug. Elm", 0, 1.0),
        ("mug", "Red mug. Elm", 1, 1.5),
        ("mug", "Red mug. Elm", 1, 2.0),
    ]
    assert files.categories("valid").labels == ["Kitchen > Cups"]
    assert files.ratings("valid", 1, 5).texts == ["Fine.\nBlue cup. Oak"]
    assert files.ratings("train", 1, 5).texts == ["Red mug. Elm"]
    assert files.query_items("train").weights.tolist() == [2.0 + 1.5]
    assert files.sessions("train") == [["a", "c"], ["b", "a", "b"]]
    # Again, in place of what is there.
    assert files.sessions("test") == ExampleFiles(export_examples(lake, "time", DS, 2)).sessions("test")
