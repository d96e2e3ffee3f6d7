"""The first night of a shop that has opened today: no customer yet, and requests that ask for something."""

import csv
import io

import pytest
from pyspark.sql import functions as F
from rich.console import Console

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.pipeline import run_night
from recsys_batch.report.summary import RunSummary
from recsys_batch.report.terminal import print_list, print_query
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.shown import shown_to
from tests.e2e.conftest import DS

ITEMS = [
    ("h1", "Wireless headphones, black", "Audio"),
    ("h2", "Wired headphones for studios", "Audio"),
    ("m1", "Wireless mouse", "Computers"),
    ("k1", "Mechanical keyboard", "Computers"),
    ("s1", "Bluetooth speaker XB13", "Audio"),
    ("p1", "华为 P30 手机", "手机"),
    ("p2", "华为 Mate 30 手机", "手机"),
    ("c1", "透明手机壳 适用于苹果", "配件"),
    ("x1", "苹果 iPhone 11 手机", "手机"),
    ("g1", "Garden hose", "Garden"),
]
REQUESTS = {
    "words": ("", "wireless headphones"),
    "typo": ("", "wirelss hedphones"),
    "model": ("", "xb14 speaker"),
    "chinese": ("", "华为手机"),
    "nothing": ("", "♥♥"),
    "both": ("p1", "手机"),
    "basket": ("m1", ""),
}


@pytest.fixture(scope="module")
def opened(spark, tmp_path_factory: pytest.TempPathFactory):
    """The lake after the night, and its summary."""
    root = tmp_path_factory.mktemp("opened")
    for name, header, rows in (
        ("items", ("id", "title", "category"), ITEMS),
        ("requests", ("id", "items", "query"), [(key, *asked) for key, asked in REQUESTS.items()]),
        ("events", ("user", "item", "type", "time"), []),
    ):
        with (root / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
    source = f"{{format: csv, options: {{header: 'true'}}, path: {root}/"
    (root / "shop.yaml").write_text(f"""
sources:
  events:
    - {source}events.csv, select: {{user_id: user, item_id: item, event_type: type, event_time: time}}}}
  items:
    - {source}items.csv, select: {{item_id: id, title: title, category: category}}}}
  requests:
    - {source}requests.csv, select: {{request_id: id, query: query, item_ids: "SPLIT(COALESCE(items, ''), ' ')"}}}}
lake: {{root: {root}/lake}}
prepare: {{min_events_on_ds: 0, profile: false}}
rerank: {{top_n: 5}}
encoder: {{dtype: float32}}
""")
    config = load_config(root / "shop.yaml", env={})
    summary = RunSummary(config.name, DS.isoformat())
    run_night(spark, config, DS, NightOptions(), summary)
    return Lake.at(spark, config.lake.root), summary


def listed(lake: Lake, key: str) -> list[str]:
    rows = lake.read(Tables.REQUEST_RECOMMENDATIONS).where(F.col("request_id") == key).orderBy("rank").collect()
    return [row.item_id for row in rows]


def test_a_shop_without_customers_publishes_what_needs_none(opened):
    lake, summary = opened
    assert summary.state == "published"
    assert set(summary.tables) == {Tables.SIMILAR_ITEMS, Tables.REQUEST_RECOMMENDATIONS}
    assert lake.read(Tables.SIMILAR_ITEMS).select("item_id").distinct().count() == len(ITEMS)


@pytest.mark.parametrize(
    ("key", "first"),
    [("words", {"h1"}), ("typo", {"h1"}), ("model", {"s1"}), ("chinese", {"p1", "p2"}), ("both", {"p2", "x1"})],
)
def test_what_is_asked_for_comes_first(opened, key, first):
    assert set(listed(opened[0], key)[: len(first)]) == first


def test_every_request_gets_a_full_list(opened):
    lake, _ = opened
    for key in REQUESTS:
        assert len(listed(lake, key)) == 5, key
    assert "p1" not in listed(lake, "both")


def test_how_queries_were_read_is_a_table(opened):
    lake, summary = opened
    rows = {row.query: row for row in lake.read(Tables.QUERY_UNDERSTANDING).collect()}
    assert rows.keys() == {query for _, query in REQUESTS.values() if query}
    typo = rows["wirelss hedphones"]
    assert [tuple(each) for each in typo.corrections] == [("wirelss", "wireless"), ("hedphones", "headphones")]
    assert (typo.searched, typo.language, typo.found_by) == ("wireless headphones", "en", "all_words")
    assert rows["xb14 speaker"].corrections == []
    assert rows["♥♥"].found_by == "nothing"
    assert summary.counts["encode.queries_corrected"] == 1
    # The queries are encoded as they are spelled: five differ.
    assert summary.counts["encode.query_texts"] == 5


def test_show_tells_what_was_corrected_and_why_each_item_is_there(opened):
    lake, _ = opened
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    shown = shown_to(lake, DS, Tables.REQUEST_RECOMMENDATIONS, "typo")
    print_query(console, shown.read)
    print_list(console, "typo", shown.recommendations)
    said = stream.getvalue()
    assert "wirelss -> wireless, hedphones -> headphones" in said
    assert 'has "wireless headphones" (for "wirelss hedphones")' in said
    assert "Audio" in said
    assert shown_to(lake, DS, Tables.REQUEST_RECOMMENDATIONS, "basket").read is None
