"""Published lists by bins, and two sides by what came of them, on a lake of two nights made by hand."""

from dataclasses import replace
from datetime import date
from math import log2

import pytest
from rich.console import Console

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.contracts.list_changes import SideFacts
from recsys_batch.measure.bins import BinResult
from recsys_batch.measure.evaluate import Asked, evaluate, print_outcomes
from recsys_batch.measure.published import OURS, POPULAR, bins_of_users, compare_outcomes, measure_queries
from recsys_batch.spark.evaluation.accuracy import measure_keys
from recsys_batch.spark.evaluation.changes.sides import Side
from recsys_batch.spark.evaluation.published import follow_up
from recsys_batch.spark.lake.prepared import replace_prepared
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import Release, latest_release, publish, read_release, stage_rows
from recsys_batch.spark.session import make_frame, night_settings, with_settings
from tests.contracts.test_load_config import MINIMAL
from tests.spark.test_spark_published import RANKED

pytestmark = pytest.mark.long

USERS, QUERIES = Tables.USER_RECOMMENDATIONS, Tables.QUERY_RECOMMENDATIONS
DS, LATER = date(2026, 6, 20), date(2026, 6, 22)
RUN, LATER_RUN = "20260620-aaaaaaaa-aaaaaa", "20260622-bbbbbbbb-bbbbbb"
ITEMS = {"item_id": "string", "canonical_item_id": "string", "item_index": "int", "canonical_index": "int"}
ITEMS |= {"eligible": "boolean", "title": "string", "category": "string"}
ACTS = {"user_id": "string", "session_id": "string", "item_id": "string", "item_index": "int", "event_type": "string"}
ACTS |= {"event_time": "timestamp", "undone": "boolean", "query": "string", "position": "int"}
ACTS |= {"item_valid_from": "timestamp"}
TITLES = {"A": "green tea", "B": "black tea", "C": "绿茶", "D": "红茶", "E": "teapot", "F": "cup"}


@pytest.fixture(scope="module", autouse=True)
def as_for_small_tables(spark):
    with with_settings(spark, night_settings(0)):
        yield


def act(user: str, item: str | None, day: int, kind: str = "purchase", query: str | None = None) -> dict:
    at = f"2026-06-{day:02} 12:0{int(kind != 'search')}:00"
    index = None if item is None else "ABCDEF".index(item)
    return {"user_id": user, "session_id": f"{user}{day}", "item_id": item, "item_index": index, "event_type": kind} | {
        "event_time": at,
        "undone": False,
        "query": query,
    }


@pytest.fixture(scope="module")
def two_nights(spark, frame, tmp_path_factory, as_for_small_tables):
    """Lists of two items for three users and three queries; F is a twin of E."""
    lake = Lake.at(spark, str(tmp_path_factory.mktemp("lake")))
    lists = {
        USERS: {"u1": "AB", "u2": "DC", "u3": "AE"},
        QUERIES: {"tea": "AB", "茶": "DC", "cup": "EA", "plate": "AB"},
    }
    staged = {
        table: frame(
            RANKED,
            [
                {"key": key, "rank": n, "item": item, "score": 1 / n, "sources": ["content"], "reason": ("k", "a", "t")}
                for key, items in of_table.items()
                for n, item in enumerate(items, 1)
            ],
        )
        for table, of_table in lists.items()
    }
    for ds, run in ((DS, RUN), (LATER, LATER_RUN)):
        for table, rows in staged.items():
            stage_rows(lake, table, rows, ds, run, "m")
        counts = {USERS: 6, QUERIES: 8}
        publish(lake, Release(run, ds, run, "publish", counts, (), {}, "hash", "1.0", {}, None, (USERS, QUERIES)))
    items = [
        {
            "item_id": i,
            "canonical_item_id": "E" if i == "F" else i,
            "item_index": n,
            "eligible": True,
            "title": TITLES[i],
        }
        | {"canonical_index": 4 if i == "F" else n, "category": "Tea > Leaves" if i in "ABCD" else "Pots"}
        for n, i in enumerate("ABCDEF")
    ]
    before = [
        # u1 had one Chinese item and two others, long ago; u2 two Chinese ones yesterday; u3 nothing.
        *(act("u1", "C", 1), act("u1", "E", 2), act("u1", "F", 3), act("u2", "C", 18), act("u2", "D", 19)),
        *(act(user, None, 10, "search", "tea") for user in ("u1", "u2", "u3")),
        act("u1", None, 11, "search", "茶"),
    ]
    after = [
        *(act("u1", "A", 21), act("u2", "B", 21), act("u3", "E", 21)),
        # After `tea` B was clicked, after the Chinese word D, after `cup` a twin of E; nothing after `plate`.
        *(act("u4", None, 22, "search", "tea"), act("u4", "B", 22, "click")),
        *(act("u5", None, 22, "search", "茶"), act("u5", "D", 22, "cart")),
        *(act("u6", None, 22, "search", "cup"), act("u6", "F", 22, "click")),
        *(act("u7", None, 22, "search", "plate"), act("u7", "A", 22, "impression")),
    ]
    replace_prepared(lake, Tables.ITEMS, frame(ITEMS, items), LATER, LATER_RUN)
    replace_prepared(lake, Tables.INTERACTIONS, frame(ACTS, before + after), LATER, LATER_RUN)
    return lake


def test_users_are_in_the_bins_of_what_they_had_done(two_nights):
    outcome = follow_up(two_nights, DS, length=2)
    ours, popular = (
        measure_keys(lists, outcome.targets, metrics=("ndcg",), ks=(2,)) for lists in (outcome.lists, outcome.popular)
    )
    found = bins_of_users(two_nights, DS, 7, outcome, ours, popular, "ndcg@2")
    # u1 has A at the first place, u2 misses, u3 has E at the second. Popular are C (two users), D and E: only u3 gets
    # C first and, of one user each, D.
    second = 1 / log2(3)
    assert found == [
        BinResult("acts of the user", "0 to 1", 1, {OURS: pytest.approx(second), POPULAR: 0.0}),
        BinResult("acts of the user", "2 to 5", 2, {OURS: 0.5, POPULAR: 0.0}),
        BinResult("days since the last", "0 to 1", 1, {OURS: 0.0, POPULAR: 0.0}),
        BinResult("days since the last", "8 to 30", 1, {OURS: 1.0, POPULAR: 0.0}),
        BinResult("language of the user", "Chinese", 1, {OURS: 0.0, POPULAR: 0.0}),
        BinResult("language of the user", "Latin letters", 1, {OURS: 1.0, POPULAR: 0.0}),
        BinResult("user mostly in", "Pots", 1, {OURS: 1.0, POPULAR: 0.0}),
        BinResult("user mostly in", "Tea", 1, {OURS: 0.0, POPULAR: 0.0}),
    ]


def test_query_lists_count_by_frequency_and_language(two_nights):
    found = measure_queries(two_nights, DS, 7, 2)
    second = 1 / log2(3)
    # B stands second after A; D first; E, as whose twin F counts, first.
    assert {m.metric: (m.value, m.num_keys) for m in found.metrics}["ndcg"] == (pytest.approx((second + 2) / 3), 3)
    assert found.bins == [
        BinResult("searches of the query", "0 to 1", 2, {OURS: 1.0}),
        BinResult("searches of the query", "2 to 5", 1, {OURS: pytest.approx(second)}),
        BinResult("language", "Latin letters", 2, {OURS: pytest.approx((second + 1) / 2)}),
        BinResult("language", "Chinese", 1, {OURS: 1.0}),
    ]


def test_queries_that_found_nothing_are_not_measured(two_nights):
    # Whatever was found was found on the second day.
    assert measure_queries(two_nights, DS, 1, 2) is None


def sides(lake, lists, ds=DS):
    """The published lists as the second side, and others, of a run that published nothing, as the first."""
    published = read_release(lake, latest_release(lake, DS), USERS)
    rows = [(user, item, n) for user, items in lists.items() for n, item in enumerate(items, 1)]
    others = make_frame(lake.spark, rows, "user_id STRING, item_id STRING, rank INT")
    runs = {"20260619-cccccccc-cccccc": others, RUN: published}
    return tuple(
        Side(SideFacts(ds, run, "staged", run), {USERS: table}, table.count(), lake) for run, table in runs.items()
    )


def test_two_sides_are_compared_on_what_came_after_both(two_nights):
    # u1 bought A, u2 B, u3 E. The other lists have u2's at the second place; u3 has none there.
    pair = sides(two_nights, {"u1": "BC", "u2": "AB", "u9": "AB"})
    found = {
        each.metric: each for each in compare_outcomes(pair, days=7, event_types=["purchase"], length=2, repeats=False)
    }
    ndcg, hits = found["ndcg@2"], found["hit_rate@2"]
    assert ndcg.num_keys == 2
    assert (ndcg.ours, ndcg.baseline) == (0.5, pytest.approx(1 / log2(3) / 2))
    assert ndcg.difference.mean == pytest.approx(0.5 - 1 / log2(3) / 2)
    assert (hits.ours, hits.baseline, hits.difference.mean) == (0.5, 0.5, 0.0)


def test_sides_that_nobody_knows_more_of_are_not_compared(two_nights):
    asked = {"days": 7, "length": 2, "repeats": False}
    pair = sides(two_nights, {"u1": "AB"})
    with pytest.raises(InputNotReadyError, match="fewer than two users with a list on both sides"):
        compare_outcomes(pair, event_types=["purchase"], **asked)
    with pytest.raises(InputNotReadyError, match="no night after 2026-06-22"):
        compare_outcomes(sides(two_nights, {"u1": "AB"}, LATER), event_types=["purchase"], **asked)
    with pytest.raises(ConfigError, match="made no user_recommendations"):
        compare_outcomes((replace(pair[0], lists={}), pair[1]), event_types=["purchase"], **asked)


def test_compare_prints_whose_lists_fared_better(two_nights, tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text(MINIMAL)
    config = load_config(path, ("rerank.top_n=2", f"lake.root={two_nights.root}"), env={})
    console = Console(record=True, width=200)
    pair = sides(two_nights, {"u1": "BC", "u2": "AB"})
    found = print_outcomes(config, pair, Asked(), console)["outcomes"]
    assert found["users"] == 2
    assert (found["ndcg@2"]["candidate"], found["ndcg@2"]["baseline"]) == (0.5, 0.3155)
    assert found["ndcg@2"]["difference"][0] == 0.1845
    printed = console.export_text()
    assert RUN in printed
    assert "20260619-cccccccc-cccccc" in printed


def test_evaluate_prints_the_bins_beside_the_metrics(spark, two_nights, tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text(MINIMAL)
    config = load_config(path, ("rerank.top_n=2", f"lake.root={two_nights.root}"), env={})
    console = Console(record=True, width=200)
    found = evaluate(spark, config, DS, Asked(), console)
    assert found["query_lists"] == {"queries": 3, "recall_min@2": 1.0, "ndcg@2": 0.877, "hit_rate@2": 1.0}
    printed = console.export_text()
    for words in ("language of the user", "user mostly in", "searches of the query", "Chinese"):
        assert words in printed
