"""A sound staged table passes; each corruption of it makes the one check that is named after it block."""

import math

import pytest

from recsys_batch.spark.publish.gates import Expectation, check_concentration, check_lists, with_room

REASON = "struct<kind: string, anchor: string, text: string>"
COLUMNS = {"rank": "int", "score": "float", "sources": "array<string>", "reason": REASON}
TOP_N = 3


def entry(key, rank, item, **changes):
    sound = {"key": key, "rank": rank, "item": item, "score": 1.0 - rank / 8, "sources": ["content", "popularity"]}
    return sound | {"reason": ("similar", item, f"similar to {item}")} | changes


def sound():
    """Two full lists. u2 may not see C again; X is not eligible."""
    return [entry("u1", rank, item) for rank, item in enumerate("ABC", 1)] + [
        entry("u2", r, i) for r, i in enumerate("BAD", 1)
    ]


def change(place, **changes):
    return lambda rows: [row | changes if n == place else row for n, row in enumerate(rows)]


@pytest.fixture(scope="module")
def shop(frame):
    rows = [{"item_id": item, "eligible": item != "X"} for item in "ABCDEX"]
    items = frame({"item_id": "string", "eligible": "boolean"}, rows).coalesce(1).cache()
    keys = (
        frame({"key": "string", "room": "int"}, [{"key": "u1", "room": TOP_N}, {"key": "u2", "room": TOP_N}])
        .coalesce(1)
        .cache()
    )
    forbidden = frame({"key": "string", "item": "string"}, [{"key": "u2", "item": "C"}]).coalesce(1).cache()
    return items, keys, forbidden


def check(frame, shop, rows, table="user_recommendations", **changes):
    items, keys, forbidden = shop
    key, item = ("item_id", "similar_item_id") if table == "similar_items" else ("user_id", "item_id")
    renamed = [{{"key": key, "item": item}.get(name, name): value for name, value in row.items()} for row in rows]
    staged = frame({key: "string", item: "string"} | COLUMNS, renamed).coalesce(1)
    expected = {"top_n": TOP_N, "min_full_share": 0.5, "keys": keys, "forbidden": forbidden, "max_fallback_share": 0.4}
    return check_lists(staged, items, Expectation(table, **(expected | changes)))


CORRUPTIONS = {
    "a rank is left out": (change(2, rank=4), "lists_with_gaps_in_rank", 1),
    "ranks begin at 0": (lambda rows: [row | {"rank": row["rank"] - 1} for row in rows], "lists_with_gaps_in_rank", 2),
    "two at one rank": (change(1, rank=1, score=0.875), "lists_with_gaps_in_rank", 1),
    "an item twice": (change(2, item="A"), "lists_with_duplicate_items", 1),
    "a sold-out item": (change(5, item="X"), "items_not_eligible", 1),
    "an item of no catalog": (change(0, item="Z"), "items_not_eligible", 1),
    "a NaN": (change(0, score=math.nan), "scores_not_finite", 1),
    "an infinite score": (change(3, score=math.inf), "scores_not_finite", 1),
    "no score": (change(2, score=None), "scores_not_finite", 1),
    "a rising score": (change(2, score=0.8), "scores_rising_with_rank", 1),
    "a list too long": (lambda rows: [*rows, entry("u1", 4, "E")], "lists_longer_than_n", 1),
    "lists too short": (lambda rows: [row for row in rows if row["rank"] < 3], "full_list_share", 0),
    "a key without a list": (lambda rows: rows[:3], "key_coverage", 0.5),
    "bought already": (change(5, item="C"), "items_already_bought", 1),
    "no reason": (change(4, reason=None), "rows_without_reason", 1),
    "an empty reason": (change(4, reason=("similar", "A", "")), "rows_without_reason", 1),
}


def test_a_sound_table_passes_every_check(frame, shop):
    checks = check(frame, shop, sound())
    assert {c.check: (c.value, c.verdict) for c in checks} == {
        "lists": (2, "pass"),
        "full_list_share": (1, "pass"),
        "key_coverage": (1, "pass"),
        "keys_without_candidates": (0, "pass"),
        "lists_with_gaps_in_rank": (0, "pass"),
        "lists_longer_than_n": (0, "pass"),
        "lists_with_duplicate_items": (0, "pass"),
        "scores_not_finite": (0, "pass"),
        "scores_rising_with_rank": (0, "pass"),
        "items_not_eligible": (0, "pass"),
        "rows_without_reason": (0, "pass"),
        "popularity_only_share": (0, "pass"),
        "items_already_bought": (0, "pass"),
    }
    assert {c.table for c in checks} == {"user_recommendations"}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_blocked_by_its_check(frame, shop, name):
    corrupt, blocked, value = CORRUPTIONS[name]
    checks = check(frame, shop, corrupt(sound()))
    assert {c.check: c.value for c in checks if c.verdict != "pass"} == {blocked: value}
    assert all(c.verdict == "block" for c in checks if c.check == blocked)


@pytest.mark.parametrize("sources", [["popularity"], ["popularity", "trending"], ["trending"]])
def test_lists_of_popular_items_only_are_a_warning(frame, shop, sources):
    rows = [row | {"sources": sources} if row["key"] == "u1" else row for row in sound()]
    found = [(c.check, c.value, c.verdict) for c in check(frame, shop, rows) if c.verdict != "pass"]
    assert found == [("popularity_only_share", 0.5, "warn")]


def test_an_empty_table_is_blocked(frame, shop):
    blocked = {c.check for c in check(frame, shop, []) if c.verdict == "block"}
    assert blocked == {"lists", "full_list_share", "key_coverage"}


def test_where_repeats_are_allowed_nothing_is_forbidden(frame, shop):
    checks = check(frame, shop, change(5, item="C")(sound()), forbidden=None)
    assert "items_already_bought" not in {c.check for c in checks}
    assert all(c.verdict == "pass" for c in checks)


def test_similar_items_are_held_to_the_same(frame, shop):
    assert {c.verdict for c in check(frame, shop, sound(), "similar_items")} == {"pass"}
    # Three faults at once: all are named.
    rows = change(0, item="X")(change(2, rank=7)(sound()))[:3]
    found = {c.check: c.value for c in check(frame, shop, rows, "similar_items") if c.verdict == "block"}
    assert found == {"items_not_eligible": 1, "lists_with_gaps_in_rank": 1, "key_coverage": 0.5}


def test_who_has_seen_everything_needs_no_list_and_keeps_back_no_others(frame, shop):
    profiles = frame(
        {"key": "string", "seen": "array<int>"},
        [
            {"key": "u1", "seen": []},
            {"key": "u2", "seen": [2]},
            {"key": "most", "seen": [0, 1, 2, 9]},
            {"key": "all", "seen": [0, 1, 2, 3, 4, 5]},
        ],
    )
    indexed = frame(
        {"item_index": "int", "item_id": "string", "eligible": "boolean"},
        [{"item_index": n, "item_id": item, "eligible": item != "X"} for n, item in enumerate("ABCDEX")],
    )
    room = with_room(profiles, indexed, TOP_N)
    assert {row.key: row.room for row in room.collect()} == {"u1": 3, "u2": 3, "most": 2, "all": 0}
    rows = [*sound(), entry("most", 1, "D"), entry("most", 2, "E")]
    checks = {c.check: c for c in check(frame, shop, rows, keys=room)}
    assert (checks["key_coverage"].value, checks["key_coverage"].verdict) == (1, "pass")
    assert (checks["full_list_share"].value, checks["keys_without_candidates"].value) == (1, 1)
    # Whoever has something left must have a list.
    short = {c.check: c for c in check(frame, shop, sound(), keys=room)}
    assert (short["key_coverage"].value, short["key_coverage"].verdict) == (pytest.approx(2 / 3), "block")


def test_concentration_by_arithmetic(frame):
    # 30 lists of one item each: the first 15 show item 0, the others an item of their own; 16 items in 30 rows.
    rows = [{"user_id": f"u{n}", "item_id": "0" if n < 15 else str(n)} for n in range(30)]
    staged = frame({"user_id": "string", "item_id": "string"}, rows)

    def found(num_eligible, top=0.5, shown=0.05):
        made = check_concentration(staged, "user_recommendations", num_eligible, top, shown)
        return {check.check: (check.value, check.threshold, check.verdict) for check in made}

    # All 16 items are among the 20 most shown ones. Of 1,000 items 30 could be shown in 30 rows.
    assert found(1000) == {"top_share": (1.0, 0.5, "warn"), "shown_share": (16 / 30, 0.05, "pass")}
    assert found(1000, shown=0.6)["shown_share"] == (16 / 30, 0.6, "warn")
    # Of 50 items the 20 most shown may take four fifths, of 40 all.
    assert found(50)["top_share"] == (1.0, 0.8, "warn")
    assert found(40)["top_share"] == (1.0, 1.0, "pass")
    assert found(20)["shown_share"] == (16 / 20, 0.05, "pass")
    assert check_concentration(staged.limit(0), "user_recommendations", 20, 0.5, 0.05) == []


def test_the_twenty_most_shown_items_are_told_from_the_others(frame):
    # Item n stands in 30 - n lists.
    rows = [{"user_id": f"u{n}-{i}", "item_id": str(n)} for n in range(30) for i in range(30 - n)]
    staged = frame({"user_id": "string", "item_id": "string"}, rows)
    top, shown = check_concentration(staged, "user_recommendations", 300, 0.5, 0.05)
    assert top.value == sum(range(11, 31)) / sum(range(1, 31))
    assert shown.value == 30 / 300
