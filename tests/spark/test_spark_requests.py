import pytest

from recsys_batch.spark.catalog.requests import classify_requests


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
