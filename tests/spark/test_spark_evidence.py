"""What a ranker knows besides, made by Spark, against loops over the same log."""

import math
import random
from collections import defaultdict
from datetime import datetime

import numpy as np
import pytest
from scipy import sparse

from recsys_batch.rules.item_models import ease_weights, largest_of_rows
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.retrieval.covisitation import daily_interactions
from recsys_batch.spark.retrieval.evidence import (
    aged_by_places,
    item_facts,
    item_neighbors,
    reference_users,
    user_acts,
)
from recsys_batch.workers.covisitation import CountPairs

TYPES = {
    "user_id": "string",
    "item_index": "int",
    "event_time": "timestamp",
    "type_weight": "double",
    "age_days": "double",
    "event_type": "string",
    "undone": "boolean",
}


def random_log():
    draw = random.Random(8)
    rows = []
    for _ in range(260):
        time = f"2026-0{draw.randrange(1, 7)}-{draw.randrange(1, 31):02} 1{draw.randrange(2)}:00:00"
        if time.startswith("2026-02-29") or time.startswith("2026-02-30"):
            continue
        kind = draw.choice(["purchase", "view", "cart"])
        rows.append(
            {
                "user_id": f"u{draw.randrange(12)}",
                "item_index": draw.randrange(9),
                "event_time": time,
                "type_weight": {"purchase": 1.0, "view": 0.25, "cart": 0.5}[kind],
                "age_days": (datetime(2026, 7, 1) - datetime.fromisoformat(time)).total_seconds() / 86400,
                "event_type": kind,
                "undone": kind == "purchase" and draw.random() < 0.3,
            }
        )
    return rows


def acts_of(rows):
    """user, item, day -> (youngest age, largest weight, whether it was bought)."""
    made = {}
    for row in rows:
        key = row["user_id"], row["item_index"], row["event_time"][:10]
        bought = row["event_type"] == "purchase" and not row["undone"]
        age, weight, was = made.get(key, (math.inf, 0.0, False))
        made[key] = min(age, row["age_days"]), max(weight, row["type_weight"]), was or bought
    return made


@pytest.fixture(scope="module")
def log():
    return random_log()


@pytest.fixture(scope="module")
def daily(frame, log):
    return daily_interactions(frame(TYPES, log)).cache()


def test_acts_are_newest_first_and_no_more_than_asked_for(daily, log):
    expected = defaultdict(list)
    for (user, item, _), (age, weight, bought) in acts_of(log).items():
        expected[user].append((age, item, weight, bought))
    for row in user_acts(daily, 7).collect():
        best = sorted(expected[row.user_id])[:7]
        assert row.acts == [item for _, item, _, _ in best]
        assert row.act_ages == pytest.approx([age for age, *_ in best], rel=1e-6)
        assert row.act_weights == pytest.approx([weight for _, _, weight, _ in best])
        assert row.act_bought == [bought for *_, bought in best]


def test_places_are_counted_from_the_newest_act_of_each_user(daily, log):
    expected = {}
    for user in {row["user_id"] for row in log}:
        times = {}  # of an item on a day: its first
        for row in log:
            if row["user_id"] == user:
                key = row["item_index"], row["event_time"][:10]
                times[key] = min(times.get(key, "9"), row["event_time"])
        newest_first = sorted(sorted(times), key=lambda key: times[key], reverse=True)
        # Sorting is stable, so that of one time the lower item comes first.
        expected |= {(user, *key): float(place) for place, key in enumerate(newest_first)}
    made = {(r.user_id, r.item_index, str(r.day)): r.age_days for r in aged_by_places(daily).collect()}
    assert made == expected


def test_facts_of_items_are_counts_of_users_and_means_of_intervals(daily, log):
    pairs = defaultdict(list)
    for (user, item, _), (age, _, bought) in acts_of(log).items():
        pairs[item, user].append((age, bought))
    for row in item_facts(daily).collect():
        mine = [acts for (item, _), acts in pairs.items() if item == row.item_index]
        for name, days in (("3", 3), ("7", 7), ("14", 14), ("30", 30), ("90", 90), ("all", math.inf)):
            assert row[f"users_{name}"] == sum(min(acts)[0] < days for acts in mine)
        assert row.buyers == sum(any(bought for _, bought in acts) for acts in mine)
        assert row.first_act == pytest.approx(max(max(acts)[0] for acts in mine))
        assert row.last_act == pytest.approx(min(min(acts)[0] for acts in mine))
        several = [acts for acts in mine if len(acts) > 1]
        assert row.repeaters == len(several)
        intervals = [(max(acts)[0] - min(acts)[0]) / (len(acts) - 1) for acts in several]
        assert row.interval_days == pytest.approx(sum(intervals))


def test_item_models_count_the_pairs_that_they_say(daily, log):
    """On one day, on a later day, or at all: which pairs an item has in each."""
    days = defaultdict(set)
    for user, item, day in acts_of(log):
        days[user].add((day, item))
    together, later, any_order = set(), set(), set()
    for acts in days.values():
        places = {day: place for place, day in enumerate(sorted({day for day, _ in acts}))}
        for one, a in acts:
            for other, b in acts:
                if a == b:
                    continue
                any_order.add((a, b))
                if one == other:
                    together.add((a, b))
                if 1 <= places[other] - places[one] <= 5:
                    later.add((a, b))
    made = item_neighbors(
        daily, lambda frame, config, nearest: map_batches(frame, CountPairs(config, nearest)), neighbors=100
    )
    found = {name: {(r.item, r.neighbor) for r in pairs.collect()} for name, pairs in made.items()}
    assert found == {"basket": together, "next_basket": later, "item_knn": any_order}
    assert together < any_order


def test_reference_users_are_those_who_acted_last(daily, log):
    weights = defaultdict(float)
    latest = defaultdict(lambda: math.inf)
    for (user, item, _), (age, weight, _) in acts_of(log).items():
        weights[user, item] += weight * math.exp(-age / 60)
        latest[user] = min(latest[user], age)
    kept = sorted(latest, key=lambda user: (latest[user], user))[:5]
    found = {(row.user_id, row.item_index): row.weight for row in reference_users(daily, 5).collect()}
    assert found == pytest.approx({key: min(w, 1.0) for key, w in weights.items() if key[0] in kept})


def test_ease_is_ridge_regression_without_the_item_itself():
    rng = np.random.default_rng(3)
    matrix = (rng.random((40, 6)) < 0.3).astype(float)
    weights = ease_weights(sparse.csr_array(matrix), 7.0)
    for item in range(6):
        others = [i for i in range(6) if i != item]
        x, y = matrix[:, others], matrix[:, item]
        expected = np.linalg.solve(x.T @ x + 7.0 * np.eye(5), x.T @ y)
        np.testing.assert_allclose(weights[others, item], expected, atol=1e-10)
        assert weights[item, item] == 0
    rows, columns = largest_of_rows(weights, 2)
    for item in range(6):
        best = sorted(range(6), key=lambda other: (-abs(weights[item, other]), other))[:2]
        assert sorted(columns[rows == item]) == sorted(best)
