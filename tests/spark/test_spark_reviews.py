from datetime import date

import pytest

from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.spark.catalog.review_sentences import review_sentences
from recsys_batch.spark.catalog.reviews import classify_reviews

DS = date(2026, 6, 30)
NIGHT, MORNING = "2026-06-30 23:59:59.999999", "2026-07-01 00:00:00"


def test_reviews_are_classified(raw, frame):
    items = frame({"item_id": "string"}, [{"item_id": "A"}, {"item_id": "B"}])
    rows = [
        {"item_id": " a ", "user_id": "u1 ", "text": "<p>Good</p>", "rating": 5.0, "review_time": NIGHT},
        {"item_id": "B", "user_id": None, "text": "好茶"},
        {"item_id": None, "text": None, "rating": 1.0},
        {"item_id": "A", "text": " <br> ", "rating": 2.0},
        {"item_id": "Z", "text": None, "rating": 3.0},
        {"item_id": "Z", "text": "of nothing", "rating": 4.0},
        {"item_id": None, "text": None, "rating": 0.0, "_kept": False},
        {"item_id": "B", "user_id": "u1", "text": "later", "review_time": MORNING},
        {"item_id": "Z", "text": "later", "review_time": MORNING},
        # The same user, item and text: the earliest is used; another user, item or text is another review.
        {"item_id": "A", "user_id": "U1", "text": "Good", "rating": 4.0, "review_time": "2026-06-01 00:00:00"},
        {"item_id": "A", "user_id": "u1", "text": "Good"},
        {"item_id": "A", "user_id": "u2", "text": "Good"},
        {"item_id": "B", "user_id": "u1", "text": "Good"},
        {"item_id": "A", "user_id": "u1", "text": "good"},
        # Of nobody: only the whole row repeats itself.
        {"item_id": "A", "text": "Fine", "rating": 5.0},
        {"item_id": "A", "text": "Fine", "rating": 5.0},
        {"item_id": "A", "text": "Fine", "rating": 4.0},
    ]
    classified = classify_reviews(raw("reviews", rows).repartition(5), items, Prepare(id_case="upper"), DS)
    assert classified.columns == ["item_id", "user_id", "rating", "text", "review_time", "status", "_notes"]
    assert sorted(
        ((r.item_id, r.user_id, r.text, r.rating, r.status) for r in classified.collect()), key=str
    ) == sorted(
        [
            ("A", "U1", "Good", 5.0, "duplicate"),
            ("B", None, "好茶", None, "used"),
            (None, None, None, 1.0, "missing_item_id"),
            ("A", None, None, 2.0, "missing_text"),
            ("Z", None, None, 3.0, "missing_text"),
            ("Z", None, "of nothing", 4.0, "unknown_item"),
            (None, None, None, 0.0, "filtered"),
            ("B", "U1", "later", None, "outside_window"),
            ("Z", None, "later", None, "outside_window"),
            ("A", "U1", "Good", 4.0, "used"),
            ("A", "U1", "Good", None, "duplicate"),
            ("A", "U2", "Good", None, "used"),
            ("B", "U1", "Good", None, "used"),
            ("A", "U1", "good", None, "used"),
            ("A", None, "Fine", 5.0, "used"),
            ("A", None, "Fine", 5.0, "duplicate"),
            ("A", None, "Fine", 4.0, "used"),
        ],
        key=str,
    )


def test_users_become_pseudonyms_where_the_config_asks_for_them(raw, frame):
    items = frame({"item_id": "string"}, [{"item_id": "A"}])
    rows = [{"item_id": "A", "user_id": "u1", "text": "Good"}, {"item_id": "A", "user_id": "u1", "text": "Good"}]
    settings = Prepare(pseudonymize_with="SHOP_KEY")
    found = classify_reviews(raw("reviews", rows), items, settings, DS, b"sixteen bytes or more").collect()
    assert {len(row.user_id) for row in found} == {32}
    assert sorted(row.status for row in found) == ["duplicate", "used"]
    with pytest.raises(ValueError, match="no key"):
        classify_reviews(raw("reviews", rows), items, settings, DS)


def test_sentences_come_from_the_newest_reviews_of_an_item(frame):
    items = frame(
        {"item_id": "string", "title": "string"},
        [{"item_id": "A", "title": "Pan"}, {"item_id": "B", "title": "茶壶"}, {"item_id": "C", "title": "No review"}],
    )
    types = {"item_id": "string", "rating": "double", "text": "string", "review_time": "timestamp"}
    newest = [
        {
            "item_id": "A",
            "rating": 5.0,
            "text": f"The handle stays cool, number {n:02d}.",
            "review_time": f"2026-06-{1 + n % 28:02d} 0{n // 28}:00:00",
        }
        for n in range(50)
    ]
    # Older or undated reviews of A speak, more often and of the same, of rust.
    older = [{"item_id": "A", "text": "Rust appeared after washing this pan."} for _ in range(60)]
    older += [{"item_id": "A", "text": "Rust appeared soon.", "review_time": "2025-01-01 00:00:00"} for _ in range(60)]
    long = [{"item_id": "B", "text": "壶嘴出水顺畅不漏。" + "x" * 1990 + "。壶盖松动容易掉落。", "review_time": NIGHT}]
    made = review_sentences(frame(types, newest + older + long).repartition(5), items, 2)
    found = {row.item_id: row.sentences for row in made.collect()}
    assert found.keys() == {"A", "B"}
    assert len(found["A"]) >= 1
    assert all(sentence.startswith("The handle stays cool") for sentence in found["A"])
    # What stands after the first 2,000 characters is not read.
    assert found["B"][0] == "壶嘴出水顺畅不漏。"
    assert not any("壶盖" in sentence for sentence in found["B"])
