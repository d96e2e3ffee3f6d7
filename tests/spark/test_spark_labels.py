"""Labels against expectations worked out by hand."""

import random
from datetime import UTC, datetime

from recsys_batch.rules.metrics.propensity import GroupCount, PositionCurve, harvest_pairs
from recsys_batch.spark.datasets.labels import (
    category_labels,
    count_positions,
    query_item_pairs,
    rating_labels,
    session_results,
)

EVENTS = {
    "user_id": "string",
    "session_id": "string",
    "event_type": "string",
    "event_time": "timestamp",
    "query": "string",
    "item_index": "int",
    "item_id": "string",
    "position": "int",
    "rating": "double",
    "undone": "boolean",
    "item_valid_from": "timestamp",
}
CURVE = PositionCurve((1, 2, 3), (1.0, 0.5, 0.05), (9, 9, 9), (1.0, 1.0, 1.0), (9.0, 9.0, 9.0))


def event(user, session, minute, event_type, item=None, position=None, query=None, undone=False, version=None):
    known = None if version is None else f"2026-01-{version:02}T00:00:00"
    return {
        "user_id": user,
        "session_id": session,
        "event_type": event_type,
        "event_time": f"2026-06-01T10:{minute:02}:00",
        "query": query,
        "item_index": None if item is None else ord(item) - ord("A"),
        "item_id": item,
        "position": position,
        "undone": undone,
        "item_valid_from": known,
    }


LOG = [
    # What is shown at the instant of the search is its result.
    event("u1", "s1", 0, "search", query="tea"),
    *(event("u1", "s1", 0, "impression", item, place) for place, item in enumerate("ABC", start=1)),
    event("u1", "s1", 1, "click", "B", 2, version=5),
    event("u1", "s1", 2, "click", "B", 2, version=6),
    event("u1", "s1", 2, "click", "D"),  # never shown: no result of a search whose impressions are logged
    event("u1", "s1", 3, "search", query="cup"),
    *(event("u1", "s1", 3, "impression", item, place) for place, item in ((1, "B"), (9, "G"))),
    event("u1", "s1", 4, "purchase", "B"),
    event("u1", "s1", 4, "click", "G"),
    event("u1", "s1", 5, "purchase", "A"),  # a result of the search before, but bought after the next one
    event("u1", "s2", 6, "click", "A", 1),  # no search in this session
    event("u2", "s1", 0, "search", query="tea"),  # without impressions whatever is acted on counts
    event("u2", "s1", 1, "cart", "A", version=7),
    event("u2", "s1", 2, "purchase", "A", version=8),
    event("u2", "s1", 3, "purchase", "E", undone=True),
    event("u2", "s1", 4, "click", "F", query="hat"),  # the event itself names its query
    event("u2", "s1", 6, "search"),  # a search that says nothing still ends the one before
    event("u2", "s1", 7, "click", "C"),
]


def minute(value: int) -> datetime:
    return datetime(2026, 6, 1, 10, value, tzinfo=UTC).replace(tzinfo=None)


def test_pairs_of_a_query_and_its_results(frame):
    pairs = query_item_pairs(session_results(frame(EVENTS, LOG).repartition(5)), CURVE, max_weight=10.0).collect()
    found = {
        (p.user_id, p.query, p.item_id): (p.label, p.clicks, p.carts, p.purchases, p.position, p.propensity)
        for p in pairs
    }
    assert found == {
        ("u1", "tea", "A"): (0, 0, 0, 0, 1, 1.0),
        ("u1", "tea", "B"): (1, 2, 0, 0, 2, 0.5),
        ("u1", "tea", "C"): (0, 0, 0, 0, 3, 0.05),
        ("u1", "cup", "B"): (1, 0, 0, 1, 1, 1.0),
        ("u1", "cup", "G"): (1, 1, 0, 0, 9, 0.05),
        ("u2", "tea", "A"): (1, 0, 1, 1, None, None),
        ("u2", "hat", "F"): (1, 1, 0, 0, None, None),
    }
    weights = {(p.user_id, p.query, p.item_id): p.label_weight for p in pairs if p.label_weight != 1.0}
    assert weights == {("u1", "tea", "B"): 1 / 0.5, ("u1", "cup", "G"): 10.0}  # 1 / 0.05 is above the ceiling
    times = {(p.query, p.item_id): (p.search_time, p.event_time, p.last_time) for p in pairs}
    assert times["tea", "B"] == (minute(0), minute(1), minute(2))
    assert times["tea", "C"] == (minute(0), minute(0), minute(0))
    assert times["hat", "F"] == (minute(4), minute(4), minute(4))
    versions = {(p.user_id, p.item_id): p.item_valid_from.day for p in pairs if p.item_valid_from}
    assert versions == {("u1", "B"): 5, ("u2", "A"): 7}  # as of the first act


def test_position_counts_equal_the_plain_reference(frame, spark):
    rng = random.Random(4)
    shown = [
        (f"u{rng.randrange(6)}", rng.randrange(4), rng.randrange(1, 9), rng.randrange(2), rng.random() < 0.2)
        for _ in range(400)
    ]
    rows = [(u, f"i{i}", i, p, 1, c, "q") for u, i, p, c, hidden in shown if not hidden]
    rows += [("u1", "i1", 1, None, 1, 1, "q"), ("u1", "i1", 1, 3, 0, 1, None)]  # no position; clicked, never shown
    ddl = "user_id string, item_id string, item_index int, position int, impressions int, clicks int, query string"
    results = spark.createDataFrame(rows, ddl)
    for group_by, group_of in (("user_item", lambda r: f"{r[0]}/{r[2]}"), ("query_item", lambda r: f"{r[2]}")):
        cells: dict[tuple[str, int], list[int]] = {}
        for row in rows[:-2]:
            cell = cells.setdefault((group_of(row), min(row[3], 6)), [0, 0])
            cell[0] += 1
            cell[1] += row[5]
        expected = harvest_pairs(GroupCount(g, p, n, c) for (g, p), (n, c) in cells.items())
        counted = count_positions(results, group_by, max_position=6)
        assert [(c.position, c.other) for c in counted] == [(c.position, c.other) for c in expected]
        for one, other in zip(counted, expected, strict=True):
            assert abs(one.impressions - other.impressions) < 1e-6
            assert abs(one.clicks - other.clicks) < 1e-6


def test_the_newest_rating_counts_and_anonymous_reviews_are_all_kept(frame):
    rated = [
        event("u1", "s", 1, "rating", "A") | {"rating": 2.0},
        event("u1", "s", 2, "rating", "A") | {"rating": 4.0},
        event("u1", "s", 3, "rating", "B") | {"rating": None},
        event("u2", "s", 3, "rating", "A") | {"rating": 1.0},
    ]
    types = {
        "item_id": "string",
        "user_id": "string",
        "rating": "double",
        "text": "string",
        "review_time": "timestamp",
    }
    reviews = [
        {"item_id": "A", "user_id": "u1", "rating": 4.0, "text": "good", "review_time": "2026-06-01T10:02:00"},
        {"item_id": "A", "user_id": None, "rating": 5.0, "text": "fine", "review_time": "2026-06-01T09:00:00"},
        {"item_id": "A", "user_id": None, "rating": 5.0, "text": "fine", "review_time": None},
        {"item_id": "B", "user_id": "u2", "rating": None, "text": "no stars", "review_time": "2026-06-01T09:00:00"},
        {"item_id": "A", "user_id": "u2", "rating": 3.0, "text": "earlier", "review_time": "2026-06-01T09:00:00"},
    ]
    labels = rating_labels(frame(EVENTS, rated), frame(types, reviews)).collect()
    assert sorted((r.user_id or "", r.item_id, r.rating, r.text or "") for r in labels) == [
        ("", "A", 5.0, "fine"),
        ("", "A", 5.0, "fine"),
        ("u1", "A", 4.0, "good"),
        ("u2", "A", 1.0, ""),
    ]


def test_category_labels_are_the_top_levels_as_paths(spark):
    rows = [("1", "A > B>C"), ("2", "茶 > 绿茶"), ("3", None), ("4", "  "), ("5", "Solo")]
    texts = spark.createDataFrame(
        [(i, "t", None, c) for i, c in rows], "item_id string, text string, valid_from timestamp, category string"
    )
    labels = {row.item_id: row.categories for row in category_labels(texts, levels=2).collect()}
    assert labels == {"1": ["A", "A > B"], "2": ["茶", "茶 > 绿茶"], "5": ["Solo"]}
