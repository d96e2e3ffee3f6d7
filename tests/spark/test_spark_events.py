from datetime import date, timedelta

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.prepare_config import Prepare
from recsys_batch.spark.events import classify_events, weigh_interactions

DS = date(2026, 6, 30)
# The window of 10 days: 2026-06-21 00:00:00 up to and without 2026-07-01 00:00:00.
PREPARE = Prepare(lookback_days=10, half_life_days=90.0, id_case="upper", min_rating=3.0)
BASE = {"user_id": "U1", "item_id": "A", "event_type": "view", "event_time": "2026-06-30 10:00:00"}

# session_id: (expected statuses, what differs from a good row). Rows of one label make one entry.
CASES = {
    "good": (["used"], [{}]),
    "canonical": (["used"], [{"user_id": " u1 ", "item_id": "ａ", "event_type": " VIEW "}]),
    "search": (["used"], [{"event_type": "search", "item_id": None, "query": " 绿茶  Tea "}]),
    "search-with-item": (["used"], [{"event_type": "search", "query": "tea", "item_id": "B"}]),
    "first-instant-of-the-window": (["used"], [{"event_time": "2026-06-21 00:00:00.000000"}]),
    "before-the-window": (["outside_window"], [{"event_time": "2026-06-20 23:59:59.999999"}]),
    "last-instant-of-ds": (["used"], [{"event_time": "2026-06-30 23:59:59.999999"}]),
    "day-after-ds": (["outside_window"], [{"event_time": "2026-07-01 00:00:00.000000"}]),
    "filtered": (["filtered"], [{"_kept": False}]),
    "no-type": (["missing_event_type"], [{"event_type": None}]),
    "other-type": (["unknown_event_type"], [{"event_type": "hover"}]),
    "no-time": (["missing_event_time"], [{"event_time": None}]),
    "no-user": (["missing_user_id"], [{"user_id": None}]),
    "blank-user": (["missing_user_id"], [{"user_id": "  "}]),
    "no-item": (["missing_item_id"], [{"item_id": None}]),
    "unknown-item": (["unknown_item"], [{"item_id": "Z"}]),
    "unknown-item-of-a-search": (["unknown_item"], [{"event_type": "search", "item_id": "Z"}]),
    # Duplicates: without an event_id where all columns are equal, with one whatever the rest says.
    "twins": (["duplicate", "duplicate", "used"], [{}, {}, {}]),
    "twins-once-canonical": (["duplicate", "used"], [{"user_id": "u1 "}, {"user_id": "U1"}]),
    "twins-of-an-unknown-item": (["duplicate", "unknown_item"], [{"item_id": "Z"}, {"item_id": "Z"}]),
    "a-microsecond-apart": (
        ["used", "used"],
        [{"event_time": "2026-06-30 10:00:00.000001"}, {"event_time": "2026-06-30 10:00:00.000002"}],
    ),
    "null-is-not-empty": (["used", "used"], [{"domain": None}, {"domain": ""}]),
    "other-quantity": (["used", "used"], [{"quantity": 1.0}, {"quantity": 2.0}]),
    "same-event-id": (["duplicate", "used"], [{"event_id": "e1"}, {"event_id": "e1", "item_id": "B", "position": 3}]),
    "different-event-ids": (["used", "used"], [{"event_id": "e2"}, {"event_id": "e3"}]),
    # A faulty row is no duplicate and makes none.
    "good-beside-faulty": (
        ["filtered", "missing_event_time", "outside_window", "used"],
        [
            {"event_id": "e4", "_kept": False},
            {"event_id": "e4", "event_time": None},
            {"event_id": "e4", "event_time": "2025-01-01 00:00:00"},
            {"event_id": "e4"},
        ],
    ),
    # Of several faults one is named, the filter first and the item last; an old row is not quarantined.
    "filter-first": (["filtered"], [{"_kept": False, "event_type": None, "event_time": None, "user_id": None}]),
    "type-before-time": (["missing_event_type"], [{"event_type": None, "event_time": None, "user_id": None}]),
    "other-type-before-time": (["unknown_event_type"], [{"event_type": "x", "event_time": None}]),
    "time-before-user": (["missing_event_time"], [{"event_time": None, "user_id": None, "item_id": None}]),
    "window-before-user": (["outside_window"], [{"event_time": "2026-07-02 00:00:00", "user_id": None}]),
    "user-before-item": (["missing_user_id"], [{"user_id": None, "item_id": None}]),
}


@pytest.fixture(scope="module")
def items(frame):
    return frame(
        {"item_id": "string", "item_index": "int"}, [{"item_id": i, "item_index": n} for n, i in enumerate("AB")]
    )


@pytest.fixture(scope="module")
def classified(raw, items):
    rows = [BASE | {"session_id": label} | change for label, (_, changes) in CASES.items() for change in changes]
    return classify_events(raw("events", rows), items, DS, PREPARE).collect()


@pytest.mark.parametrize("label", CASES)
def test_every_row_gets_the_status(classified, label):
    assert sorted(row.status for row in classified if row.session_id == label) == CASES[label][0]


def test_no_row_is_lost_and_used_rows_are_canonical(classified):
    assert len(classified) == sum(len(changes) for _, changes in CASES.values())
    assert classified[0].__fields__ == [*Inputs.TYPES["events"], "item_index", "status"]
    by_label = {row.session_id: row for row in classified if row.status == "used"}
    row = by_label["canonical"]
    assert (row.user_id, row.item_id, row.event_type, row.item_index) == ("U1", "A", "view", 0)
    assert (by_label["search"].query, by_label["search"].item_index) == ("绿茶 tea", None)
    assert by_label["search-with-item"].item_index == 1


def test_the_same_copy_is_used_however_the_rows_are_spread(raw, items):
    copies = [
        BASE
        | {
            "event_id": f"e{n}",
            "session_id": f"s{copy}",
            "position": copy * 7 % 5,
            "quantity": None if copy == 2 else 1.0,
        }
        for n in range(8)
        for copy in range(5)
    ]
    used = []
    for rows, partitions in ((copies, 1), (copies, 7), (copies[::-1], 3)):
        made = classify_events(raw("events", rows).repartition(partitions), items, DS, PREPARE)
        used.append({(row.event_id, row.session_id, row.position) for row in made.where("status = 'used'").collect()})
        assert {event_id for event_id, *_ in used[-1]} == {f"e{n}" for n in range(8)}
        assert len(used[-1]) == 8
    assert used[0] == used[1] == used[2]


def weigh(frame, rows, prepare=PREPARE):
    types = Inputs.TYPES["events"] | {"item_index": "int"}
    full = [{"event_time": "2026-06-30 00:00:00", "item_index": 0, "event_type": "purchase"} | row for row in rows]
    return weigh_interactions(frame(types, full), DS, prepare)


def test_a_return_undoes_purchases_only_where_it_reaches_what_was_bought(frame):
    bought = {"event_type": "purchase"}
    returned = {"event_type": "return"}
    users = {
        "part": (False, [bought | {"quantity": 2.0}, bought | {"quantity": 1.0}, returned | {"quantity": 2.0}]),
        "all": (True, [bought | {"quantity": 2.0}, bought | {"quantity": 1.0}, returned | {"quantity": 3.0}]),
        "more": (True, [bought | {"quantity": 2.0}, returned | {"quantity": 5.0}]),
        "in-parts": (True, [bought | {"quantity": 2.0}, returned | {"quantity": 1.0}, returned | {"quantity": 1.0}]),
        "no-quantity": (True, [bought, returned]),
        "no-quantity-of-two": (False, [bought, bought, returned]),
        "negative-quantity": (True, [bought | {"quantity": 2.0}, returned | {"quantity": -2.0}]),
        "not-returned": (False, [bought]),
        "other-item": (False, [bought, returned | {"item_index": 1}]),
        "given-away-for-quantity-zero": (False, [bought | {"quantity": 0.0}]),
    }
    rows = [{"user_id": user} | row for user, (_, events) in users.items() for row in events]
    rows += [{"user_id": "all", "event_type": "view"}, {"user_id": "part", "event_type": "search", "item_index": None}]
    found = weigh(frame, rows).collect()
    assert len(found) == len(rows)
    purchases = {
        user: {(r.undone, r.type_weight) for r in found if r.user_id == user and r.event_type == "purchase"}
        for user in users
    }
    assert purchases == {user: {(True, 0.0) if undone else (False, 1.0)} for user, (undone, _) in users.items()}
    others = {(row.event_type, row.undone, row.type_weight) for row in found if row.event_type != "purchase"}
    assert others == {("return", False, 0.0), ("view", False, 0.2), ("search", False, 0.0)}


def test_an_interaction_halves_its_weight_every_half_life(frame):
    end = DS + timedelta(days=1)
    rows = [{"user_id": str(days), "event_time": f"{end - timedelta(days=days)} 00:00:00"} for days in (1, 45, 90, 180)]
    rows.append({"user_id": "six hours", "event_time": "2026-06-30 18:00:00"})
    found = {row.user_id: row for row in weigh(frame, rows).collect()}
    assert {user: row.age_days for user, row in found.items()} == {
        "1": 1.0,
        "45": 45.0,
        "90": 90.0,
        "180": 180.0,
        "six hours": 0.25,
    }
    assert found["90"].weight == pytest.approx(1.0 / 2)
    assert found["180"].weight == pytest.approx(1.0 / 4)
    assert found["45"].weight == pytest.approx(2**-0.5)
    assert found["six hours"].weight == pytest.approx(2 ** (-0.25 / 90))


def test_types_weigh_what_the_config_says_and_low_ratings_nothing(frame):
    expected = {
        "purchase": 1.0,
        "cart": 0.75,
        "view": 0.25,
        "search": 0.0,
        "impression": 0.0,
        "click": 0.0,
        "favorite": 0.0,
        "unfavorite": 0.0,
        "return": 0.0,
    }
    prepare = Prepare(
        event_weights={"purchase": 1.0, "cart": 0.75, "view": 0.25, "rating": 0.5}, half_life_days=1.0, min_rating=3.0
    )
    rows = [{"user_id": event_type, "event_type": event_type, "item_index": n} for n, event_type in enumerate(expected)]
    ratings = {"rating 2.9": 2.9, "rating 3": 3.0, "rating 5": 5.0, "no rating": None}
    rows += [{"user_id": user, "event_type": "rating", "rating": rating} for user, rating in ratings.items()]
    # A low value beside another type is no rating.
    rows.append({"user_id": "low cart", "event_type": "cart", "rating": 1.0})
    found = (
        weigh(frame, rows, prepare).select("user_id", "type_weight", F.round("weight", 12).alias("weight")).collect()
    )
    expected |= {"rating 2.9": 0.0, "rating 3": 0.5, "rating 5": 0.5, "no rating": 0.5, "low cart": 0.75}
    assert {row.user_id: row.type_weight for row in found} == expected
    # One day old at a half-life of one day.
    assert {row.user_id: row.weight for row in found} == {user: weight / 2 for user, weight in expected.items()}
