import pytest

from recsys_batch.spark.requests import classify_requests, classify_reviews


def test_reviews_are_classified(raw, frame):
    items = frame({"item_id": "string"}, [{"item_id": "A"}, {"item_id": "B"}])
    rows = [
        {"item_id": " a ", "user_id": "u1 ", "text": "<p>Good</p>", "rating": 5.0},
        {"item_id": "B", "user_id": None, "text": "好茶"},
        {"item_id": None, "text": None, "rating": 1.0},
        {"item_id": "A", "text": " <br> ", "rating": 2.0},
        {"item_id": "Z", "text": None, "rating": 3.0},
        {"item_id": "Z", "text": "of nothing", "rating": 4.0},
        {"item_id": None, "text": None, "rating": 0.0, "_kept": False},
    ]
    found = classify_reviews(raw("reviews", rows), items, "upper").collect()
    assert sorted(((r.item_id, r.user_id, r.text, r.rating, r.status) for r in found), key=str) == sorted(
        [
            ("A", "U1", "Good", 5.0, "used"),
            ("B", None, "好茶", None, "used"),
            (None, None, None, 1.0, "missing_item_id"),
            ("A", None, None, 2.0, "missing_text"),
            ("Z", None, None, 3.0, "missing_text"),
            ("Z", None, "of nothing", 4.0, "unknown_item"),
            (None, None, None, 0.0, "filtered"),
        ],
        key=str,
    )


@pytest.mark.parametrize("partitions", [1, 6])
def test_requests_are_classified(raw, partitions):
    rows = [
        {"request_id": " r1 ", "item_ids": [" a", None, "B", "a"], "query": " "},
        {"request_id": "r2", "query": "Green  TEA"},
        {"request_id": None, "item_ids": ["A"]},
        {"request_id": " ", "item_ids": []},
        {"request_id": "r3", "item_ids": [" ", None], "query": "  "},
        {"request_id": "r4"},
        {"request_id": "r5", "item_ids": ["B"], "query": "b"},
        {"request_id": "r5", "item_ids": ["A"], "query": "z"},
        {"request_id": "r5", "item_ids": ["A"], "query": "y"},
        {"request_id": "r5"},
        {"request_id": "r6", "item_ids": ["A"], "_kept": False},
        {"request_id": "r6", "item_ids": ["B"]},
        # The id of a request is not an item's: its case stands.
        {"request_id": "R6", "item_ids": ["B"]},
    ]
    found = classify_requests(raw("requests", rows).repartition(partitions), "upper").collect()
    assert sorted(((r.request_id, tuple(r.item_ids), r.query, r.status) for r in found), key=str) == sorted(
        [
            ("r1", ("A", "B", "A"), None, "used"),
            ("r2", (), "green tea", "used"),
            (None, ("A",), None, "missing_request_id"),
            (None, (), None, "missing_request_id"),
            ("r3", (), None, "empty_request"),
            ("r4", (), None, "empty_request"),
            ("r5", ("B",), "b", "duplicate"),
            ("r5", ("A",), "z", "duplicate"),
            ("r5", ("A",), "y", "used"),  # the first in the order of item_ids and query
            ("r5", (), None, "empty_request"),
            ("r6", ("A",), None, "filtered"),
            ("r6", ("B",), None, "used"),
            ("R6", ("B",), None, "used"),
        ],
        key=str,
    )
