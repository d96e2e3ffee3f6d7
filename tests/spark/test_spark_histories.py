import math
import random
from collections import defaultdict

import numpy as np
import pytest

from recsys_batch.contracts.columns import EVENT_TYPE_CODES
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.spark.events.histories import user_histories
from recsys_batch.spark.retrieval.profiles import (
    item_profiles,
    query_profiles,
    request_profiles,
    top_queries,
    user_profiles,
)

INTERACTIONS = {
    "user_id": "string",
    "item_index": "int",
    "event_type": "string",
    "event_time": "timestamp",
    "query": "string",
    "type_weight": "double",
    "weight": "double",
    "undone": "boolean",
}
HISTORY_LENGTH = 4
WEIGHTS = {"view": 0.2, "cart": 0.6, "purchase": 1.0, "search": 0.0, "return": 0.0}


def random_log() -> list[dict[str, object]]:
    """160 interactions of 7 users with 9 items; some share their times, some purchases are undone."""
    draw = random.Random(11)
    rows: list[dict[str, object]] = [{"user_id": "only-searched", "event_type": "search", "query": "q"} | TIME]
    for _ in range(160):
        event_type = draw.choice(list(WEIGHTS))
        undone = event_type == "purchase" and draw.random() < 0.3
        rows.append(
            {
                "user_id": f"u{draw.randrange(7)}",
                "item_index": None if event_type == "search" else draw.randrange(9),
                "event_type": event_type,
                "event_time": f"2026-06-{draw.randrange(1, 31):02d} 0{draw.randrange(3)}:00:00",
                "type_weight": 0.0 if undone else WEIGHTS[event_type],
                "weight": 0.0 if undone else WEIGHTS[event_type] * draw.choice([1.0, 0.5, 0.25]),
                "undone": undone,
            }
        )
    return [{"type_weight": 0.0, "weight": 0.0, "undone": False} | row for row in rows]


TIME = {"event_time": "2026-06-30 00:00:00"}


def reference(rows: list[dict[str, object]]) -> dict[str, dict[str, list[object]]]:
    """What `user_histories` promises, one user at a time."""
    users: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in rows:
        users[row["user_id"]].append(row)
    made = {}
    for user, log in users.items():
        items: dict[int, list[dict[str, object]]] = defaultdict(list)
        for row in log:
            if row.get("item_index") is not None and row["weight"] > 0:
                items[row["item_index"]].append(row)
        last = {item: max(row["event_time"] for row in seen) for item, seen in items.items()}
        # Newest first; of two met at the same time the lower index first.
        newest = sorted(sorted(items), key=lambda item: last[item], reverse=True)[:HISTORY_LENGTH]
        made[user] = {
            "history": newest,
            "weights": [math.log(1 + sum(row["weight"] for row in items[item])) for item in newest],
            "codes": [
                max((row["type_weight"], EVENT_TYPE_CODES[row["event_type"]]) for row in items[item])[1]
                for item in newest
            ],
            "times": [last[item] for item in newest],
            "bought": sorted(
                {row["item_index"] for row in log if row["event_type"] == "purchase" and not row["undone"]}
            ),
        }
    return made


@pytest.fixture(scope="module")
def log():
    return random_log()


@pytest.fixture(scope="module")
def histories(frame, log):
    return user_histories(frame(INTERACTIONS, log), Prepare(history_length=HISTORY_LENGTH)).cache()


def test_histories_equal_the_reference(histories, log):
    times = "transform(history_times, t -> date_format(t, 'yyyy-MM-dd HH:mm:ss')) AS times"
    rows = histories.selectExpr("*", times).collect()
    expected = reference(log)
    assert len(rows) == len(expected) == 8
    # The log is of use only where the length cuts and purchases were undone.
    assert any(
        len({r.get("item_index") for r in log if r["user_id"] == user and r["weight"] > 0}) > HISTORY_LENGTH
        for user in expected
    )
    assert any(row["undone"] for row in log)
    for row in rows:
        user = expected[row.user_id]
        assert (row.history, row.history_codes, row.times, row.bought) == (
            user["history"],
            user["codes"],
            user["times"],
            user["bought"],
        )
        np.testing.assert_allclose(row.history_weights, user["weights"], rtol=1e-6)


def test_someone_who_only_searched_is_known_without_a_history(histories):
    row = histories.where("user_id = 'only-searched'").first()
    assert (row.history, row.history_weights, row.history_codes, row.history_times, row.bought) == ([], [], [], [], [])


def test_an_undone_purchase_is_not_bought_and_the_strongest_event_names_the_item(frame):
    rows = [
        {"event_type": "purchase", "item_index": 5, "undone": True, "weight": 0.0, "type_weight": 0.0},
        {"event_type": "purchase", "item_index": 6, "weight": 0.1, "type_weight": 1.0},
        {"event_type": "view", "item_index": 6, "weight": 0.2, "type_weight": 0.2},
        {"event_type": "cart", "item_index": 7, "weight": 0.6, "type_weight": 0.6},
        *[{"event_type": "view", "item_index": 7, "weight": 0.2, "type_weight": 0.2}] * 3,
    ]
    rows = [{"user_id": "u", "undone": False} | TIME | row for row in rows]
    row = user_histories(frame(INTERACTIONS, rows), Prepare()).first()
    assert row.bought == [6]
    assert row.history == [6, 7]
    assert row.history_codes == [EVENT_TYPE_CODES["purchase"], EVENT_TYPE_CODES["cart"]]
    np.testing.assert_allclose(row.history_weights, [math.log(1 + 0.3), math.log(1 + 0.6 + 3 * 0.2)], rtol=1e-6)


def test_profiles_of_users_mask_what_they_bought_unless_repeats_are_allowed(histories, log):
    expected = reference(log)
    for allow_repeats in (False, True):
        rows = {row.key: row for row in user_profiles(histories, allow_repeats).collect()}
        assert rows.keys() == expected.keys()
        for user, row in rows.items():
            assert row.history == expected[user]["history"]
            assert row.seen == ([] if allow_repeats else expected[user]["bought"])
            assert row.vector is None


READ = {
    **dict.fromkeys(("query", "searched", "category"), "string"),
    **dict.fromkeys(("terms", "term_words"), "array<string>"),
    **{
        "term_weights": "array<float>",
        "term_needed": "array<boolean>",
        "known_share": "float",
        "vector": "array<float>",
    },
}
ITEMS = (("A", 0), ("B", 1), ("C", 2), ("B2", 3))


def test_profiles_of_requests(frame):
    # B2 is a near-duplicate of B: who holds one holds the other.
    items = frame(
        {"item_id": "string", "item_index": "int", "canonical_index": "int"},
        [{"item_id": i, "item_index": n, "canonical_index": min(n, 1) if "B" in i else n} for i, n in ITEMS],
    )
    read = frame(READ, [{"query": "tea", "searched": "tea", "terms": ["tea"], "vector": [0.5, 0.25]}])
    rows = [
        {"request_id": "basket", "item_ids": ["A", "C", "unknown", "A", "B"], "query": None},
        {"request_id": "basket and query", "item_ids": ["B"], "query": "tea"},
        {"request_id": "twin", "item_ids": ["A", "B2"], "query": None},
        {"request_id": "query", "item_ids": [], "query": "tea"},
        {"request_id": "query beside unknown items", "item_ids": ["unknown"], "query": "tea"},
        {"request_id": "nothing known", "item_ids": ["unknown"], "query": None},
    ]
    requests = frame({"request_id": "string", "item_ids": "array<string>", "query": "string"}, rows).repartition(3)
    found = {row.key: row for row in request_profiles(requests, items, read, allow_repeats=False).collect()}
    # Newest first, repeats kept; masked once.
    assert {key: (row.history, sorted(row.seen), row.vector) for key, row in found.items()} == {
        "basket": ([1, 0, 2, 0], [0, 1, 2], None),
        "basket and query": ([1], [1], [0.5, 0.25]),
        "twin": ([1, 0], [0, 1], None),
        "query": ([], [], [0.5, 0.25]),
        "query beside unknown items": ([], [], [0.5, 0.25]),
        "nothing known": ([], [], None),
    }
    assert (found["query"].query, found["query"].searched, found["query"].terms) == ("tea", None, ["tea"])
    assert (found["basket"].query, found["basket"].terms) == (None, None)
    assert found["basket"].history_weights == [1.0] * 4
    assert len(found["basket"].history_codes) == 4
    repeats = request_profiles(requests, items, read, allow_repeats=True).where("key = 'basket'").first()
    assert (repeats.history, repeats.seen) == ([1, 0, 2, 0], [])


def test_profiles_of_items_and_queries(frame):
    types = {"item_id": "string", "item_index": "int", "canonical_index": "int"}
    indices = {"A": (4, 4), "B": (7, 7), "B2": (9, 7)}
    rows = [{"item_id": i, "item_index": own, "canonical_index": canon} for i, (own, canon) in indices.items()]
    found = {row.key: row for row in item_profiles(frame(types, rows)).collect()}
    assert {key: (row.history, row.seen) for key, row in found.items()} == {
        "A": ([4], [4]),
        "B": ([7], [7, 9]),
        "B2": ([7], [7, 9]),
    }
    assert (found["A"].history_weights, found["A"].vector) == ([1.0], None)
    queries = frame({"query": "string"}, [{"query": "tea"}])
    known = [{"query": q, "searched": s, "vector": [0.5]} for q, s in (("tea", "tea"), ("pot", "pot"), ("taa", "tea"))]
    rows = query_profiles(queries, frame(READ, known)).collect()
    assert [(row.key, row.history, row.seen, row.vector) for row in rows] == [("tea", [], [], [0.5])]
    # What was corrected goes on to whoever explains the list.
    typo = query_profiles(frame({"query": "string"}, [{"query": "taa"}]), frame(READ, known)).first()
    assert (typo.key, typo.query, typo.searched) == ("taa", "taa", "tea")


def test_a_query_without_a_vector_has_a_profile_all_the_same(frame):
    queries = frame({"query": "string"}, [{"query": "tea"}])
    row = query_profiles(queries, frame(READ, [{"query": "tea", "searched": "tea", "terms": ["tea"]}])).first()
    assert (row.key, row.terms, row.vector) == ("tea", ["tea"], None)


def test_top_queries_break_ties_by_the_alphabet(frame):
    searches = ["b"] * 2 + ["c"] * 3 + ["a"] * 2 + ["d"] * 2 + [None] * 9
    rows = [{"event_type": "search", "query": query} for query in searches]
    rows += [{"event_type": "view", "query": "viewed"}] * 9
    log = frame(INTERACTIONS, rows).repartition(3)
    assert [row["query"] for row in top_queries(log, 3).collect()] == ["c", "a", "b"]
    assert sorted(row["query"] for row in top_queries(log, 99).collect()) == ["a", "b", "c", "d"]
