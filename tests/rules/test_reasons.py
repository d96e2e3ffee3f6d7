"""The sentence under a recommendation, kind by kind of list."""

import pytest

from recsys_batch.contracts.columns import CANDIDATE_SOURCES, EVENT_TYPES
from recsys_batch.rules.reasons import ListKind, explain


@pytest.mark.parametrize(
    ("list_kind", "source", "kind", "text"),
    [
        ("user", "content", "similar", "because you bought 蓝牙耳机"),
        ("user", "covisitation", "together", "because you bought 蓝牙耳机"),
        ("item", "content", "similar", "similar to 蓝牙耳机"),
        ("item", "covisitation", "together", "often bought with 蓝牙耳机"),
        ("request", "content", "similar", "similar to 蓝牙耳机"),
        ("request", "covisitation", "together", "goes with 蓝牙耳机"),
        ("query", "content", "query", 'matches "蓝牙耳机"'),
    ],
)
def test_the_reason_names_its_anchor(list_kind: ListKind, source: str, kind: str, text: str) -> None:
    assert explain(list_kind, source, "蓝牙耳机", "purchase") == (kind, text)


@pytest.mark.parametrize(
    ("event_type", "verb"),
    [
        ("purchase", "bought"),
        ("cart", "put in your cart"),
        ("favorite", "like"),
        ("rating", "rated"),
        ("click", "looked at"),
        ("view", "looked at"),
        ("impression", "looked at"),
    ],
)
def test_the_verb_is_what_the_user_did(event_type: str, verb: str) -> None:
    assert explain("user", "content", "Mug", event_type) == ("similar", f"because you {verb} Mug")


@pytest.mark.parametrize("list_kind", ["user", "query", "item", "request"])
def test_popular_items_and_items_without_an_anchor_claim_nothing_else(list_kind: ListKind) -> None:
    popular = ("popular", "popular with other customers")
    assert explain(list_kind, "popularity", "Mug", "view") == popular
    assert explain(list_kind, "covisitation", "", "") == popular
    if list_kind != "request":  # a request by query has no anchor either: see test_rerank_task.py
        assert explain(list_kind, "content", "", "") == popular


@pytest.mark.parametrize("list_kind", ["user", "query", "item", "request"])
def test_every_combination_gives_a_readable_sentence(list_kind: ListKind) -> None:
    for source in CANDIDATE_SOURCES:
        for event_type in EVENT_TYPES:
            kind, text = explain(list_kind, source, "Mug", event_type)
            assert kind in {"popular", "query", "together", "similar", "again", "customers"}
            assert ("Mug" in text) == (source not in {"popularity", "trending", "repurchase", "user_knn"})
