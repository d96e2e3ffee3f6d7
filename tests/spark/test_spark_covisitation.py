import math
import random
from collections import Counter, defaultdict
from datetime import datetime

import numpy as np
import pytest

from recsys_batch.contracts.config.night import Covisitation
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.retrieval.covisitation import (
    covisitation_neighbors,
    daily_interactions,
    popularity,
    user_sequences,
)
from recsys_batch.workers.covisitation import CountPairs

INTERACTIONS = {
    "user_id": "string",
    "item_index": "int",
    "event_time": "timestamp",
    "type_weight": "double",
    "age_days": "double",
    "event_type": "string",
    "undone": "boolean",
}
DAILY = INTERACTIONS | {"day": "date", "bought": "boolean"}
CONFIG = Covisitation(
    neighbors=1000,
    max_distance=2,
    distance_decay=0.7,
    backward=0.5,
    count_power=0.5,
    neighbor_power=0.25,
    shrinkage=3.0,
    history_length=6,
)


def count_pairs(config):
    return lambda frame: map_batches(frame.repartition(3), CountPairs(config))


def random_log() -> list[dict[str, object]]:
    draw = random.Random(5)
    rows = []
    for _ in range(150):
        time = f"2026-06-{draw.randrange(20, 31)} 1{draw.randrange(2)}:00:00"
        rows.append(
            {
                "user_id": f"u{draw.randrange(9)}",
                "item_index": draw.choice([None, *range(8)]),
                "event_time": time,
                "type_weight": draw.choice([0.0, 0.2, 1.0]),
                "age_days": (datetime(2026, 7, 1) - datetime.fromisoformat(time)).total_seconds() / 86400,
            }
        )
    return rows


def daily_reference(rows):
    """(user, item, day) -> strongest weight, first time, age of the newest."""
    made = {}
    for row in rows:
        if row["item_index"] is None or row["type_weight"] <= 0:
            continue
        key = (row["user_id"], row["item_index"], row["event_time"][:10])
        weight, time, age = made.get(key, (0.0, "9", math.inf))
        made[key] = (max(weight, row["type_weight"]), min(time, row["event_time"]), min(age, row["age_days"]))
    return made


def sequences_reference(daily, history_length):
    """User -> [(step, item, weight)]: the newest `history_length`, of equal times the lower index, in order of time."""
    users = defaultdict(list)
    for (user, item, _), (weight, time, _) in daily.items():
        users[user].append((time, item, weight))
    made = {}
    for user, entries in users.items():
        by_index = sorted(entries, key=lambda e: e[1])
        kept = sorted(by_index, key=lambda e: e[0], reverse=True)[:history_length]
        steps = {time: step for step, time in enumerate(sorted({time for time, *_ in kept}), 1)}
        made[user] = sorted((steps[time], item, weight) for time, item, weight in kept)
    return made


def neighbors_reference(daily, config):
    """Every ordered pair of sequence places, one at a time."""
    sums = defaultdict(float)
    for entries in sequences_reference(daily, config.history_length).values():
        for a, (step_a, item_a, weight_a) in enumerate(entries):
            for b, (step_b, item_b, weight_b) in enumerate(entries):
                distance = step_b - step_a
                if a == b or abs(distance) > config.max_distance or (item_a == item_b and b < a):
                    continue
                weight = config.distance_decay ** max(abs(distance) - 1, 0) * math.sqrt(weight_a * weight_b)
                sums[item_a, item_b] += weight * (config.backward if distance < 0 else 1.0)
    counts = Counter(item for _, item, _ in daily)
    return {
        (i, n): s
        / (counts[i] + config.shrinkage) ** config.count_power
        / (counts[n] + config.shrinkage) ** config.neighbor_power
        for (i, n), s in sums.items()
    }


@pytest.fixture(scope="module")
def log():
    return random_log()


@pytest.fixture(scope="module")
def daily(frame, log):
    return daily_interactions(frame(INTERACTIONS, log)).cache()


def test_a_day_with_an_item_is_one_interaction(daily, log):
    time = "date_format(event_time, 'yyyy-MM-dd HH:mm:ss') AS time"
    rows = daily.selectExpr("user_id", "item_index", "string(day) AS day", "type_weight", time, "age_days").collect()
    found = {(row.user_id, row.item_index, row.day): (row.type_weight, row.time, row.age_days) for row in rows}
    assert len(rows) == len(found)
    assert found == daily_reference(log)


def test_sequences_equal_the_reference(daily, log):
    expected = sequences_reference(daily_reference(log), CONFIG.history_length)
    assert any(len(entries) == CONFIG.history_length for entries in expected.values())
    rows = user_sequences(daily, CONFIG.history_length).collect()
    found = sorted([tuple(e) for e in zip(row.steps, row["items"], row.weights, strict=True)] for row in rows)
    assert found == sorted(expected.values())


def test_neighbors_equal_the_reference(daily, log):
    expected = neighbors_reference(daily_reference(log), CONFIG)
    rows = covisitation_neighbors(daily, count_pairs(CONFIG), CONFIG).collect()
    found = {(row["item"], row.neighbor): row.weight for row in rows}
    assert len(found) == len(rows)
    assert any(item == neighbor for item, neighbor in expected)  # met again on another day
    assert found.keys() == expected.keys()
    for pair, weight in expected.items():
        assert found[pair] == pytest.approx(weight, rel=1e-12)


def basket(user, *items):
    """One basket: every pair of it weighs 1 in both directions."""
    return [
        {"user_id": user, "item_index": i, "type_weight": 1.0, "event_time": f"2026-06-0{user} 00:00:00"} for i in items
    ]


def neighbors_of(frame, rows, **changes):
    config = Covisitation(**{"count_power": 1.0, "neighbor_power": 0.0, "shrinkage": 0.0} | changes)
    rows = covisitation_neighbors(frame(DAILY, rows), count_pairs(config), config).collect()
    found = defaultdict(dict)
    for row in rows:
        found[row["item"]][row.neighbor] = row.weight
    return found


def test_the_strongest_neighbors_are_kept_and_ties_go_to_the_lower_index(frame):
    # 3 is twice with 4, all others are together once.
    found = neighbors_of(frame, [*basket(1, 0, 1, 2, 3, 4), *basket(2, 3, 4)], neighbors=2)
    assert {item: set(of) for item, of in found.items()} == {0: {1, 2}, 1: {0, 2}, 2: {0, 1}, 3: {0, 4}, 4: {0, 3}}
    assert found[3] == {4: 2 / 2, 0: 1 / 2}


def test_neighbor_power_takes_bestsellers_down(frame):
    # 0 is bought with everything; 1 and 2 go together. Counts: 0: 3, 1: 2, 2: 2, 5: 1.
    rows = [*basket(1, 0, 1, 2), *basket(2, 0, 1, 2), *basket(3, 0, 5)]
    assert neighbors_of(frame, rows)[1] == {0: 2 / 2, 2: 2 / 2}
    found = neighbors_of(frame, rows, neighbor_power=1.0, neighbors=1)
    assert found[1] == {2: pytest.approx(2 / 2 / 2)}
    assert found[5] == {0: pytest.approx(1 / 1 / 3)}
    shrunk = neighbors_of(frame, rows, neighbor_power=0.5, count_power=0.5, shrinkage=2.0)
    assert shrunk[0][5] == pytest.approx(1 / (3 + 2) ** 0.5 / (1 + 2) ** 0.5)


def test_popularity_equals_the_reference(daily, log):
    sums = defaultdict(float)
    for (_, item, _), (weight, _, age) in daily_reference(log).items():
        sums[item] += weight * 0.5 ** (age / 3.0)
    found = {row.item_index: row.popularity for row in popularity(daily, 3.0).collect()}
    assert found.keys() == sums.keys()
    np.testing.assert_allclose([found[item] for item in sums], [math.log(1 + s) for s in sums.values()], rtol=1e-12)
