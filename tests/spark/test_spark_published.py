"""Published lists against what came after, on a lake of two nights made by hand."""

from datetime import date

import pytest

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import InputNotReadyError
from recsys_batch.spark.evaluation.accuracy import measure_lists
from recsys_batch.spark.evaluation.published import follow_up
from recsys_batch.spark.lake.prepared import replace_prepared
from recsys_batch.spark.publish.release import Release, publish, stage_rows

USERS = Tables.USER_RECOMMENDATIONS
DS, LATER = date(2026, 6, 20), date(2026, 6, 25)
RANKED = {
    **{"key": "string", "rank": "int", "item": "string", "score": "float", "sources": "array<string>"},
    "reason": "struct<kind: string, anchor: string, text: string>",
}
ACTS = {
    "user_id": "string",
    "item_id": "string",
    "event_type": "string",
    "event_time": "timestamp",
    "undone": "boolean",
}


def release(ds, run_id, rows):
    return Release(run_id, ds, run_id, "publish", {USERS: rows}, (), {}, "hash", "1.0", {}, None, (USERS,))


@pytest.fixture
def two_nights(lake, frame):
    """Lists of the 20th for u1, u2 and u3; purchases up to the 25th, as the night of that date prepared them."""
    lists = {"u1": "ABC", "u2": "ABD", "u3": "AB"}
    rows = [
        {"key": user, "rank": n, "item": item, "score": 1 / n, "sources": ["content"], "reason": ("k", "a", "t")}
        for user, items in lists.items()
        for n, item in enumerate(items, 1)
    ]
    for ds, run_id in ((DS, "20260620-aaaaaaaa-aaaaaa"), (LATER, "20260625-bbbbbbbb-bbbbbb")):
        stage_rows(lake, USERS, frame(RANKED, rows), ds, run_id, "m")
        publish(lake, release(ds, run_id, len(rows)))
    bought = [
        *(("u1", "E", 10), ("u2", "E", 18), ("u3", "F", 18), ("u4", "F", 19), ("u5", "E", 1)),  # before
        *(("u1", "twin", 21), ("u1", "E", 22), ("u2", "Z", 23), ("u2", "D", 25), ("u3", "F", 24), ("u9", "A", 22)),
    ]
    acts = [
        {"user_id": user, "item_id": item, "event_type": "purchase", "event_time": f"2026-06-{day:02} 12:00:00"}
        | {"undone": False}
        for user, item, day in bought
    ]
    acts += [acts[0] | {"item_id": "C", "event_time": "2026-06-22 12:00:00", "undone": True}]
    acts += [acts[0] | {"item_id": "B", "event_time": "2026-06-22 12:00:00", "event_type": "view"}]
    types = {"item_id": "string", "canonical_item_id": "string", "eligible": "boolean"}
    items = [{"item_id": i, "canonical_item_id": i, "eligible": True} for i in "ABCDEFZ"]
    items.append({"item_id": "twin", "canonical_item_id": "A", "eligible": False})
    replace_prepared(lake, Tables.ITEMS, frame(types, items), LATER, "20260625-bbbbbbbb-bbbbbb")
    replace_prepared(lake, Tables.INTERACTIONS, frame(ACTS, acts), LATER, "20260625-bbbbbbbb-bbbbbb")
    return lake


def pairs(frame, *columns):
    return {tuple(row) for row in frame.select("user_id", "item_id", *columns).collect()}


def test_new_items_of_the_days_after_are_the_targets(two_nights):
    found = follow_up(two_nights, DS, length=3, days=4)
    assert (found.first, found.last) == (date(2026, 6, 21), date(2026, 6, 24))
    # u1's E and u3's F were bought before, u2's D after the last day, u1's C went back; u9 had no list.
    assert pairs(found.targets) == {("u1", "A"), ("u2", "Z")}
    # E: u1, u2, u5; F: u3, u4.
    assert pairs(found.popular, "rank") == {("u1", "F", 1), ("u2", "F", 1)}
    (recall,) = measure_lists(found.lists, found.targets, metrics=("recall_min",), ks=(3,))
    assert (recall.value, recall.num_keys) == (0.5, 2)


def test_with_repeats_what_was_bought_before_counts_too(two_nights):
    found = follow_up(two_nights, DS, length=3, days=30, repeats=True)
    assert found.last == LATER
    assert pairs(found.targets) == {("u1", "A"), ("u1", "E"), ("u2", "Z"), ("u2", "D"), ("u3", "F")}
    assert pairs(found.popular, "rank") == {(u, i, r) for u in ("u1", "u2", "u3") for i, r in (("E", 1), ("F", 2))}


def test_nobody_knows_yet_what_came_of_the_newest_lists(two_nights, lake):
    with pytest.raises(InputNotReadyError, match="no night after 2026-06-25 is published"):
        follow_up(two_nights, LATER, length=3)
    with pytest.raises(InputNotReadyError, match="nothing published for 2026-06-01"):
        follow_up(two_nights, date(2026, 6, 1), length=3)
