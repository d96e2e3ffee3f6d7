"""What search is made of: texts of the catalog's fields, and what customers acted on after a query."""

from datetime import date, datetime

import pytest
from pyspark.sql import functions as F

from recsys_batch.spark.retrieval.queries import acts_after, searched_fields


def test_attributes_are_names_and_values_in_order(frame):
    types = dict.fromkeys(("item_id", "title", "brand", "category", "description"), "string")
    items = frame(
        {**types, "item_index": "int", "attributes": "map<string,string>"},
        [
            {"item_id": "a", "item_index": 1, "title": "Lamp", "attributes": {"size": "10 cm", "color": "red"}},
            {"item_id": "b", "item_index": 2, "title": "Desk"},
        ],
    )
    rows = {row.item_id: row for row in searched_fields(items).collect()}
    assert rows["a"].attributes == "color red size 10 cm"
    assert (rows["b"].title, rows["b"].attributes) == ("Desk", None)


def test_acts_after_a_query_count_by_type_and_age(frame):
    types = {"query": "string", "item_index": "int", "clicks": "long", "carts": "long", "purchases": "long"}
    types |= {"looked_at": "double"}
    day = datetime(2026, 6, 30, 12)
    rows = [
        {"query": "lamp", "item_index": 1, "clicks": 2, "carts": 0, "purchases": 1, "last_time": day, "looked_at": 1.0},
        # 30 days earlier: half.
        {
            "query": "lamp",
            "item_index": 1,
            "clicks": 1,
            "carts": 0,
            "purchases": 0,
            "last_time": datetime(2026, 5, 31, 12),
        },
        {"query": "lamp", "item_index": 2, "clicks": 0, "carts": 0, "purchases": 0, "last_time": day},
        {"query": "lamp", "item_index": 4, "clicks": 1, "carts": 0, "purchases": 0, "last_time": day, "looked_at": 0.2},
        {
            "query": "lamp",
            "item_index": 5,
            "clicks": 1,
            "carts": 0,
            "purchases": 0,
            "last_time": day,
            "looked_at": 0.01,
        },
        {"query": None, "item_index": 3, "clicks": 5, "carts": 0, "purchases": 0, "last_time": day},
    ]
    results = frame({**types, "last_time": "timestamp"}, rows)
    made = acts_after(
        results, date(2026, 6, 30), {"click": 0.3, "cart": 0.6, "purchase": 1.0}, 30.0, F.col("looked_at")
    ).collect()
    half_a_day = 0.5 ** (0.5 / 30)
    weights = {(row.query, row.item_index): row.weight for row in made}
    # Item 4 stood where one in five looks, item 5 where next to nobody does: no act counts more than ten times.
    assert weights == pytest.approx(
        {
            ("lamp", 1): half_a_day * (2 * 0.3 + 1.0 + 0.5 * 0.3),
            ("lamp", 4): half_a_day * 0.3 * 5,
            ("lamp", 5): half_a_day * 0.3 * 10,
        }
    )
