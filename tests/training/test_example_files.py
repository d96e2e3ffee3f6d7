"""Reading exported examples: with the items' texts, in an order of their own; empty parts, unfinished folders."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_batch.contracts.example_schemas import ExampleTables
from recsys_batch.training.examples.columns import LabelOutOfRangeError
from recsys_batch.training.examples.files import ExampleFiles, ExamplesNotFoundError

ROWS = {
    (ExampleTables.ITEMS, "train"): [
        {"item_id": "b", "text": "blue cup", "category": None},
        {"item_id": "a", "text": "red mug", "category": "Kitchen"},
    ],
    (ExampleTables.ITEMS, "test"): [{"item_id": "c", "text": "手机", "category": "Phones"}],
    (ExampleTables.RATINGS, "train"): [
        {"item_id": "b", "text": None, "rating": 4.0},
        {"item_id": "a", "text": "Good.", "rating": 5.0},
        {"item_id": "gone", "text": "Bad.", "rating": 1.0},
    ],
    (ExampleTables.CLICKS, "train"): [
        {"query": "mug", "item_id": "b", "label": 0, "weight": 1.0},
        {"query": "cup", "item_id": "b", "label": 1, "weight": 2.5},
    ],
    (ExampleTables.QUERY_ITEMS, "train"): [{"query": "cup", "item_id": "b", "weight": 2.5}],
    (ExampleTables.SESSIONS, "train"): [{"item_ids": ["b", "a", "b"]}, {"item_ids": ["a", "c"]}],
}


def write(root: Path, reverse: bool) -> ExampleFiles:
    for (table, part), rows in ROWS.items():
        folder = root / table / f"split={part}"
        folder.mkdir(parents=True)
        (root / table / "_SUCCESS").touch()
        for number, row in enumerate(reversed(rows) if reverse else rows):
            pq.write_table(pa.Table.from_pylist([row], ExampleTables.SCHEMAS[table]), folder / f"{number}.parquet")
    return ExampleFiles(str(root))


@pytest.mark.parametrize("reverse", [False, True])
def test_examples_in_an_order_of_their_own(tmp_path: Path, reverse: bool) -> None:
    files = write(tmp_path / "with blank %20", reverse)
    assert files.item_texts == {"a": "red mug", "b": "blue cup", "c": "手机"}
    categories = files.categories("train")
    assert (categories.texts, categories.labels) == (["red mug"], ["Kitchen"])
    assert files.categories("test").labels == ["Phones"]
    ratings = files.ratings("train", 1, 5)
    # The item that left the catalog has no text.
    assert ratings.texts == ["Good.\nred mug", "blue cup"]
    assert ratings.values.tolist() == [5.0, 4.0]
    clicks = files.clicks("train")
    assert (clicks.queries, clicks.items) == (["cup", "mug"], ["blue cup", "blue cup"])
    assert clicks.labels.tolist() == [1, 0]
    assert clicks.labels.dtype == np.int64
    assert clicks.weights.tolist() == [2.5, 1.0]
    pairs = files.query_items("train")
    assert (pairs.queries, pairs.item_ids, pairs.weights.tolist()) == (["cup"], ["b"], [2.5])
    assert files.sessions("train") == [["a", "c"], ["b", "a", "b"]]


def test_a_part_without_rows_is_empty(tmp_path: Path) -> None:
    files = write(tmp_path, False)
    assert [len(files.categories("valid")), len(files.ratings("valid", 1, 5)), len(files.clicks("valid"))] == [0, 0, 0]
    assert files.sessions("valid") == []


def test_an_unfinished_folder_and_a_rating_out_of_range_are_refused(tmp_path: Path) -> None:
    files = write(tmp_path, False)
    with pytest.raises(LabelOutOfRangeError, match="value of example 0 is 5, outside 1 to 4"):
        files.ratings("train", 1, 4)
    (tmp_path / ExampleTables.CLICKS / "_SUCCESS").unlink()
    with pytest.raises(ExamplesNotFoundError, match="clicks: no training examples, or not finished"):
        files.clicks("train")
