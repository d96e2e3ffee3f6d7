import json

import numpy as np
import pytest

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.demo import tables, truth
from recsys_batch.demo.shop import write_shop
from recsys_batch.demo.spec import ShopSpec

SPEC = ShopSpec(num_users=120, num_items=300, num_days=15, seed=5)
ITEMS_TYPES = ", ".join(f"{name} {kind}" for name, kind in Inputs.TYPES["items"].items())
REVIEWS_TYPES = ", ".join(f"{name} {kind}" for name, kind in Inputs.TYPES["reviews"].items())


@pytest.fixture(scope="module")
def written(spark, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "shop"
    return out, write_shop(spark, SPEC, str(out))


@pytest.fixture(scope="module")
def events(spark, written):
    # A session of ours reads partition values as text.
    read = spark.read.parquet(f"{written[0]}/events")
    return read.withColumn("day", read.day.cast("date"))


def test_events_read_back_equal_what_one_process_makes(events):
    batch = tables.make_events(SPEC, np.arange(SPEC.num_users))
    expected = batch.to_pandas().sort_values(["event_id", "day"])
    found = events.select(batch.schema.names).toArrow().to_pandas().sort_values(["event_id", "day"])
    for column in ("event_id", "user_id", "item_id", "event_type", "query", "session_id", "day"):
        assert found[column].tolist() == expected[column].tolist(), column
    np.testing.assert_array_equal(found["event_time"].astype("int64"), expected["event_time"].astype("int64"))
    np.testing.assert_array_equal(found["quantity"], expected["quantity"])


def test_events_have_the_types_of_the_contract_and_a_day(events):
    types = dict(events.dtypes)
    assert types.pop("day") == "date"
    assert types == {column: kind for column, kind in Inputs.TYPES["events"].items() if column != "received_at"}


def test_items_read_back_as_json_with_the_types_of_the_contract(spark, written):
    out, manifest = written
    items = spark.read.schema(ITEMS_TYPES).json(f"{out}/items")
    rows = items.collect()
    assert len(rows) == manifest.rows["items"]
    assert len({row.item_id for row in rows}) == SPEC.num_items
    assert {row.domain for row in rows} == {"en", "zh"}
    assert all(len(row.attributes) == 3 and row.updated_at is not None for row in rows)
    expected = tables.make_items(SPEC, np.arange(SPEC.num_items)).to_pylist()
    assert sorted((row.item_id, row.title) for row in rows) == sorted(
        (row["item_id"], row["title"]) for row in expected
    )


def test_reviews_read_back_as_csv_with_commas_quotes_and_newlines(spark, written):
    out, manifest = written
    reader = spark.read.schema(REVIEWS_TYPES).options(header=True, multiLine=True, escape='"')
    rows = reader.csv(f"{out}/reviews").collect()
    expected = tables.make_reviews(SPEC, np.arange(SPEC.num_users)).to_pylist()
    assert len(rows) == len(expected) == manifest.rows["reviews"]
    found = sorted((row.item_id, row.text, row.user_id or "", row.rating) for row in rows)
    assert found == sorted((row["item_id"], row["text"], row["user_id"] or "", row["rating"]) for row in expected)
    assert any("\n" in row.text for row in rows)
    assert all(row.review_time is not None for row in rows)


def test_truth_names_the_users_items_and_faults(spark, written):
    out, manifest = written
    for name, schema in (("users", truth.USERS_SCHEMA), ("items", truth.ITEMS_SCHEMA), ("dirt", truth.DIRT_SCHEMA)):
        frame = spark.read.parquet(f"{out}/truth/{name}")
        assert frame.columns == schema.names
        assert frame.count() == manifest.rows[f"truth/{name}"]
    assert spark.read.parquet(f"{out}/truth/position_bias").count() == 8


def test_the_manifest_counts_what_is_there(written, events):
    out, manifest = written
    saved = json.loads((out / "truth" / "manifest.json").read_text())
    assert saved["rows"] == manifest.rows
    assert saved["seed"] == SPEC.seed
    assert manifest.rows["events"] == sum(manifest.events_by_type.values()) == events.count()
    assert manifest.rows["truth/dirt"] == sum(manifest.dirt_by_kind.values())


def test_a_folder_with_files_is_refused_and_left_alone(spark, written, tmp_path):
    out, _ = written
    with pytest.raises(ConfigError, match="not empty"):
        write_shop(spark, SPEC, str(out))
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        write_shop(spark, SPEC, str(tmp_path))


def test_overwrite_replaces_the_shop_and_nothing_else(spark, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "old.csv").write_text("old")
    write_shop(spark, SPEC, str(tmp_path), overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert not (tmp_path / "reviews" / "old.csv").exists()
    assert (tmp_path / "truth" / "manifest.json").exists()
