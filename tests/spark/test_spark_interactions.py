from datetime import date, timedelta

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.spark.events.interactions import count_returns, match_undoings, weigh_interactions

DS = date(2026, 6, 30)
PREPARE = Prepare(half_life_days=90.0, min_rating=3.0)


def weigh(frame, rows, prepare=PREPARE):
    types = Inputs.TYPES["events"] | {"item_index": "int", "event_key": "string"}
    full = [
        {"event_time": "2026-06-30 00:00:00", "item_index": 0, "event_type": "purchase", "event_key": str(n)} | row
        for n, row in enumerate(rows)
    ]
    events = frame(types, full).persist()
    return weigh_interactions(events, match_undoings(events), DS, prepare)


def test_returns_take_back_the_newest_purchases_before_them(frame):
    def bought(minute, quantity=None):
        return {"event_type": "purchase", "quantity": quantity, "event_time": f"2026-06-30 00:{minute:02}:00"}

    def returned(minute, quantity=None):
        return bought(minute, quantity) | {"event_type": "return"}

    # user: events with (matched quantity, undone)
    users = {
        "part": [(bought(1, 2.0), 1.0, False), (bought(2, 1.0), 1.0, True), (returned(3, 2.0), 2.0, False)],
        "all": [(bought(1, 2.0), 2.0, True), (bought(2, 1.0), 1.0, True), (returned(3, 3.0), 3.0, False)],
        "more": [(bought(1, 2.0), 2.0, True), (returned(2, 5.0), 2.0, False)],
        "in-parts": [(bought(1, 2.0), 2.0, True), (returned(2, 1.0), 1.0, False), (returned(3, 1.0), 1.0, False)],
        "no-quantity": [(bought(1), 1.0, True), (returned(2), 1.0, False)],
        "no-quantity-of-two": [(bought(1), 0.0, False), (bought(2), 1.0, True), (returned(3), 1.0, False)],
        "negative-quantity": [(bought(1, 2.0), 2.0, True), (returned(2, -2.0), 2.0, False)],
        "before-it-was-bought": [(returned(1, 1.0), 0.0, False), (bought(2, 1.0), 0.0, False)],
        "bought-again": [(bought(1, 1.0), 1.0, True), (returned(2, 1.0), 1.0, False), (bought(3, 1.0), 0.0, False)],
        "in-one-moment": [(returned(1, 1.0), 1.0, False), (bought(1, 1.0), 1.0, True)],
        "not-returned": [(bought(1), None, False)],
        "other-item": [(bought(1), None, False), (returned(2) | {"item_index": 1}, 0.0, False)],
        "given-away": [(bought(1, 0.0), None, False)],
        "liked": [({"event_type": "favorite"}, None, False)],
        "regretted": [
            (bought(1) | {"event_type": "favorite"}, 1.0, True),
            (bought(2) | {"event_type": "favorite"}, 1.0, True),
            (bought(3) | {"event_type": "unfavorite"}, 2.0, False),
            (bought(4) | {"event_type": "favorite"}, 0.0, False),
        ],
        "looking": [({"event_type": "view"}, None, False), ({"event_type": "search", "item_index": None}, None, False)],
    }
    rows = [{"user_id": user} | row for user, events in users.items() for row, *_ in events]
    expected = [(matched, undone) for events in users.values() for _, matched, undone in events]
    made = weigh(frame, rows).persist()
    found = {int(row.event_key): row for row in made.collect()}
    assert [(found[n].matched_quantity, found[n].undone) for n in range(len(rows))] == expected
    weights = {"purchase": 1.0, "favorite": 0.6, "view": 0.2}
    assert [found[n].type_weight for n in range(len(rows))] == [
        0.0 if undone else weights.get(row.get("event_type"), 0.0)
        for row, (_, undone) in zip(rows, expected, strict=True)
    ]
    assert count_returns(made) == {
        "returns_matched": 9,
        "returns_partly_matched": 1,
        "returns_unmatched": 2,
        "purchases_undone": sum(u for r, (_, u) in zip(rows, expected, strict=True) if r["event_type"] == "purchase"),
        "favorites_undone": 2,
        "late_events": 0,
    }


def test_events_received_a_day_after_they_happened_are_late(frame):
    happened = "2026-06-28 10:00:00"
    received = {"at once": "2026-06-28 10:00:01", "in time": "2026-06-29 10:00:00", "late": "2026-06-29 10:00:01"}
    rows = [{"user_id": user, "event_time": happened, "received_at": time} for user, time in received.items()]
    rows.append({"user_id": "not said", "event_time": happened, "received_at": None})
    assert {row.user_id for row in weigh(frame, rows).where("late").collect()} == {"late"}


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
