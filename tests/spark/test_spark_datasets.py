"""Training data of one small lake: written, checked, described; and not finished where it leaks."""

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.config.splits import Split
from recsys_batch.contracts.datasets import (
    DatasetManifest,
    LeakError,
    ManifestNotFoundError,
    PreparedTablesMissingError,
    manifest_name,
)
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.run_facts import RunFacts
from recsys_batch.learn.datasets import make_datasets
from recsys_batch.spark.catalog.item_history import observe_items
from recsys_batch.spark.lake.manifests import read_manifest
from recsys_batch.spark.lake.prepared import replace_prepared
from recsys_batch.spark.lake.runs import record_stage

DS = date(2026, 6, 30)
RUN = "20260630-01010101-00000a"
ITEMS = {
    "item_id": "string",
    "item_index": "int",
    "canonical_index": "int",
    "title": "string",
    "category": "string",
    "updated_at": "timestamp",
}
INTERACTIONS = {
    "event_id": "string",
    "user_id": "string",
    "item_id": "string",
    "item_index": "int",
    "event_type": "string",
    "event_time": "timestamp",
    "query": "string",
    "quantity": "double",
    "rating": "double",
    "session_id": "string",
    "position": "int",
    "type_weight": "double",
    "weight": "double",
    "undone": "boolean",
    "item_valid_from": "timestamp",
}
INDEX = {"a": 0, "b": 1, "c": 2, "a2": 0}  # a2 is the same product as a


def at(days: float) -> datetime:
    return datetime(2026, 7, 1, tzinfo=UTC) - timedelta(days=days)


def interactions():
    """Three users, one item a day; the first searched for what was clicked last."""
    rows = [(u, i, d) for u in ("u1", "u2") for i, d in (("a2", 9), ("b", 5), ("c", 2), ("a", 1))] + [("u3", "b", 3)]
    clicks = [
        {
            "user_id": user,
            "item_id": item,
            "item_index": INDEX[item],
            "event_type": "click",
            "event_time": at(days),
            "session_id": f"s{days}",
            "type_weight": 0.3,
            "weight": 0.3,
            "undone": False,
        }
        for user, item, days in rows
    ]
    search = {"user_id": "u1", "session_id": "s2", "event_type": "search", "event_time": at(2.01), "query": "cup"}
    return [*clicks, search | {"type_weight": 0.0, "weight": 0.0, "undone": False}]


def config() -> Config:
    """The least config; position bias cannot be told without impressions."""
    source = {"format": "parquet", "path": "unread"}
    events = source | {"select": {"user_id": "u", "event_type": "t", "event_time": "t"}}
    items = source | {"select": {"item_id": "i", "title": "t"}}
    return Config.model_validate(
        {
            "name": "small",
            "seed": 3,
            "sources": {"events": [events], "items": [items]},
            "prepare": {"history_columns": ["title", "category"]},
            "datasets": {"splits": [Split(name="last", kind="leave_last_k"), Split(name="other", kind="user")]},
        }
    )


@pytest.mark.slow
def test_a_dataset_is_written_with_a_manifest_and_has_none_once_it_leaks(frame, lake):
    with pytest.raises(PreparedTablesMissingError, match=r"lake: 2026-06-30 is not prepared; run jobs/nightly"):
        make_datasets(lake, config(), DS)
    catalog = [("a", 0, 0, "Tea"), ("a2", 3, 0, "TEA"), ("b", 1, 1, "Pot"), ("c", 2, 2, "Cup")]
    items = frame(
        ITEMS,
        [
            dict(zip(ITEMS, (*row, "Kitchen > Things", datetime(2026, 1, 1, tzinfo=UTC)), strict=True))
            for row in catalog
        ],
    )
    record_stage(lake, RUN, "prepare", "p", {}, RunFacts({"prepare": RUN}))
    with pytest.raises(PreparedTablesMissingError, match=rf"interactions: no rows of 2026-06-30 and run {RUN}"):
        make_datasets(lake, config(), DS)
    replace_prepared(lake, "items", items, DS, RUN)
    replace_prepared(lake, "interactions", frame(INTERACTIONS, interactions()), DS, RUN)
    # What another run prepared of the date before is not looked at.
    replace_prepared(lake, "interactions", frame(INTERACTIONS, interactions()[:3]), DS, "older")
    observe_items(lake, items, ["title", "category"], DS)
    with pytest.raises(ConfigError, match=r"--split nosuch: no such split; datasets.splits has: last, other"):
        make_datasets(lake, config(), DS, ["nosuch"])

    (made,) = make_datasets(lake, config(), DS, ["last"])

    # Each of two users: a (as a2, long ago), b, c; the last new item is c, before it b, before it a. u3 has one item.
    parts = {part: (s.rows, s.users, s.items) for part, s in made.tables["interactions"].items()}
    assert parts == {"train": (2, 2, 1), "valid": (2, 2, 1), "test": (2, 2, 1)}
    assert made.dropped["interactions"] == {"pair_in_other_part": 2, "too_few_items": 1}
    assert {part: s.rows for part, s in made.tables["query_items"].items()} == {"train": 0, "valid": 0, "test": 1}
    assert made.item_texts == {"source": "item_history", "known_before": "2026-07-01", "texts": 2, "with_category": 2}
    rows = lake.read_ds("datasets/last/interactions", DS).collect()
    assert Counter((r.item_id, r.split) for r in rows) == {("a", "train"): 2, ("b", "valid"): 2, ("c", "test"): 2}
    assert {r.item_id for r in lake.read_ds("datasets/last/training_texts", DS).collect()} == {"a", "a2"}

    file = Path(lake.path(manifest_name("last", DS)).removeprefix("file://"))
    told = json.loads(file.read_text(encoding="utf-8"))
    assert (told["source_run_id"], told["seed"], told["settings"]["k"]) == (RUN, 3, 1)
    assert DatasetManifest.from_json(file.read_text(encoding="utf-8")) == made == read_manifest(lake, "last", DS)

    # The catalog version of an event is from after the event: whoever made the prepared tables joined wrongly.
    wrong = frame(INTERACTIONS, interactions()).withColumn("item_valid_from", F.lit(at(0.5)))
    replace_prepared(lake, "interactions", wrong, DS, RUN)
    with pytest.raises(LeakError, match="interactions: catalog_versions_later_than_the_event is 6, threshold 0: block"):
        make_datasets(lake, config(), DS, ["last"])
    with pytest.raises(ManifestNotFoundError, match="not finished"):
        read_manifest(lake, "last", DS)
