import io
from datetime import date

import pytest
from pyspark.sql import functions as F
from rich.console import Console

from recsys_batch.contracts.columns import EVENT_TYPE_CODES, Tables
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.report.terminal import print_history
from recsys_batch.spark.lake.prepared import replace_prepared
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import Release, publish, stage_rows
from recsys_batch.spark.publish.shown import shown_to, some_users
from recsys_batch.spark.session import local_time, with_settings

DS = date(2026, 6, 30)
REASON = "struct<kind: string, anchor: string, text: string>"
RANKED = {
    "key": "string",
    "rank": "int",
    "item": "string",
    "score": "float",
    "sources": "array<string>",
    "reason": REASON,
}
HISTORIES = {
    "user_id": "string",
    "history": "array<int>",
    "history_codes": "array<tinyint>",
    "history_times": "array<timestamp>",
}


@pytest.fixture(scope="module")
def lake(spark, frame, tmp_path_factory):
    """Users of 3, 5, 15 and 16 history items; u5 has a list, and item A has one."""
    lake = Lake.at(spark, str(tmp_path_factory.mktemp("shown") / "lake"))
    items = [{"item_id": i, "title": f"title {i}", "item_index": n} for n, i in enumerate("ABCDE")]
    types = {"item_id": "string", "title": "string", "item_index": "int"}
    replace_prepared(lake, Tables.ITEMS, frame(types, items).coalesce(1), DS, "run")
    # A later run of the date, which was not published.
    others = [row | {"title": "another title"} for row in items]
    replace_prepared(lake, Tables.ITEMS, frame(types, others).coalesce(1), DS, "later")
    times = [date(2026, 6, 30 - n) for n in range(16)]
    codes = [EVENT_TYPE_CODES[name] for name in ("purchase", "view", "cart", "rating", "click")] + [2] * 11
    rows = [
        {"user_id": f"u{n}", "history": [2, 0, 1, 4, 3, *[0] * 11][:n], "history_codes": codes[:n]}
        for n in (3, 5, 15, 16)
    ]
    histories = frame(HISTORIES | {"days": "array<date>"}, [r | {"days": times[: len(r["history"])]} for r in rows])
    made = histories.selectExpr("user_id", "history", "history_codes", "CAST(days AS ARRAY<TIMESTAMP>) history_times")
    replace_prepared(lake, Tables.USER_HISTORIES, made.coalesce(1), DS, "run")
    replace_prepared(lake, Tables.USER_HISTORIES, made.where("user_id = 'u15'").coalesce(1), DS, "later")
    for table, key in ((Tables.USER_RECOMMENDATIONS, "u5"), (Tables.SIMILAR_ITEMS, "A")):
        listed = [
            {
                "key": key,
                "rank": n,
                "item": i,
                "score": 1 / n,
                "sources": ["content"],
                "reason": ("similar", "C", f"{i} is like C"),
            }
            for n, i in enumerate("DBE", 1)
        ]
        ranked = frame(RANKED, listed).coalesce(1)
        dealt = ranked.withColumn("arm", F.lit("capped")) if table == Tables.USER_RECOMMENDATIONS else ranked
        stage_rows(lake, table, dealt, DS, "run", "m1")
    lists = (Tables.USER_RECOMMENDATIONS, Tables.SIMILAR_ITEMS)
    publish(lake, Release("rel", DS, "run", "publish", dict.fromkeys(lists, 3), (), {}, "h", "1", {}, None, lists))
    return lake


def test_a_user_is_shown_the_list_beside_the_history(lake):
    shown = shown_to(lake, DS, Tables.USER_RECOMMENDATIONS, "u5")
    assert (shown.release_id, shown.table, shown.key) == ("rel", Tables.USER_RECOMMENDATIONS, "u5")
    assert shown.arm == "capped"
    assert [(r["rank"], r.item_id, r.title, r.score, r.reason) for r in shown.recommendations] == [
        (1, "D", "title D", 1.0, "D is like C"),
        (2, "B", "title B", 0.5, "B is like C"),
        (3, "E", "title E", pytest.approx(1 / 3), "E is like C"),
    ]
    assert [(r.event_type, r.item_id, r.title) for r in shown.history] == [
        ("purchase", "C", "title C"),
        ("view", "A", "title A"),
        ("cart", "B", "title B"),
        ("rating", "E", "title E"),
        ("click", "D", "title D"),
    ]


@pytest.mark.parametrize(
    ("zone", "at", "named"),
    [("UTC", "2026-06-30 00:00:00", "last seen "), ("Asia/Kolkata", "2026-06-30 05:30:00", "last seen (Asia/Kolkata)")],
)
def test_times_are_those_of_the_shops_clocks_and_the_zone_is_named(spark, lake, zone, at, named):
    with with_settings(spark, local_time(zone)):
        history = shown_to(lake, DS, Tables.USER_RECOMMENDATIONS, "u5").history
    assert history[0].time == at
    out = io.StringIO()
    print_history(Console(file=out, width=140), "u5", history, Prepare(timezone=zone).zone_note)
    assert named in out.getvalue()
    assert at in out.getvalue()
    assert ("(" in out.getvalue()) == (zone != "UTC")


def test_an_item_is_shown_with_what_is_like_it(lake):
    shown = shown_to(lake, DS, Tables.SIMILAR_ITEMS, "A")
    assert [(r["rank"], r.item_id, r.title) for r in shown.recommendations] == [
        (1, "D", "title D"),
        (2, "B", "title B"),
        (3, "E", "title E"),
    ]
    assert shown.history == []
    assert shown.arm is None


def test_users_with_a_middling_history_are_picked_the_same_every_time(lake):
    assert sorted(some_users(lake, DS, 9)) == ["u15", "u5"]
    assert some_users(lake, DS, 1) == some_users(lake, DS, 9)[:1]


def test_what_was_not_published_is_said(lake):
    with pytest.raises(ConfigError, match="user_recommendations: user_id 'U5' has no list on 2026-06-30"):
        shown_to(lake, DS, Tables.USER_RECOMMENDATIONS, "U5")
    with pytest.raises(InputNotReadyError, match="query_recommendations: nothing published for 2026-06-30"):
        shown_to(lake, DS, Tables.QUERY_RECOMMENDATIONS, "tea")
    with pytest.raises(InputNotReadyError, match="nothing published for 2026-06-29"):
        shown_to(lake, date(2026, 6, 29), Tables.USER_RECOMMENDATIONS, "u5")
    with pytest.raises(InputNotReadyError, match="nothing published for 2026-06-29"):
        some_users(lake, date(2026, 6, 29), 3)
