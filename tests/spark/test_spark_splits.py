"""Splits against a plain reference in Python; leak checks against planted leaks."""

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from recsys_batch.contracts.config.splits import Split
from recsys_batch.contracts.datasets import LeakError, refuse_leaks
from recsys_batch.spark.datasets.leaks import check_leaks, check_texts, held_out_items, summarize_parts, training_texts
from recsys_batch.spark.datasets.splits import assign_split, train_end_of

DS = date(2026, 6, 30)
TYPES = {"user_id": "string", "item_id": "string", "event_time": "timestamp"}
SPLIT_TYPES = TYPES | {"split": "string"}


def day(number: float | None) -> datetime | None:
    """The instant that many days before the end of DS."""
    return None if number is None else datetime(2026, 7, 1, tzinfo=UTC) - timedelta(days=number)


def random_log(seed: int):
    """Few users and items at few instants: many ties, repeats and short histories."""
    rng = random.Random(seed)
    return [
        {"user_id": f"u{rng.randrange(25)}", "item_id": f"i{rng.randrange(9)}", "event_time": day(rng.randrange(1, 25))}
        for _ in range(220)
    ]


def reference_time(rows, valid_days, test_days, repeats):
    firsts = first_times(rows)

    def part(time):
        return "test" if time >= day(test_days) else "valid" if time >= day(test_days + valid_days) else "train"

    for row in rows:
        own, home = part(row["event_time"]), part(firsts[row["user_id"], row["item_id"]])
        yield (own, None) if own == home or repeats == "keep" else (None, "pair_in_other_part")


def reference_leave_last(rows, k, short_users):
    firsts = first_times(rows)
    homes, cuts = {}, {}
    for user in {row["user_id"] for row in rows}:
        # Newest first, ties by item.
        pairs = sorted(((i, t) for (u, i), t in firsts.items() if u == user), key=lambda p: (-p[1].timestamp(), p[0]))
        test, rest = pairs[:k], pairs[k:]
        before = [p for p in rest if p[1] < test[-1][1]]
        valid = before[:k]
        train = [p for p in before[k:] if valid and p[1] < valid[-1][1]]
        if len(test) < k or len(valid) < k or not train:
            continue
        cuts[user] = (valid[-1][1], test[-1][1])
        homes |= {(user, i): "tied" for i, _ in pairs}
        homes |= {
            (user, i): name for name, held in (("train", train), ("valid", valid), ("test", test)) for i, _ in held
        }
    for row in rows:
        if row["user_id"] not in cuts:
            yield ("train", None) if short_users == "train" else (None, "too_few_items")
            continue
        valid_start, test_start = cuts[row["user_id"]]
        time, home = row["event_time"], homes[row["user_id"], row["item_id"]]
        own = "test" if time >= test_start else "valid" if time >= valid_start else "train"
        yield (own, None) if own == home else (None, "tied_with_held_out" if home == "tied" else "pair_in_other_part")


def first_times(rows):
    firsts = {}
    for row in rows:
        key = row["user_id"], row["item_id"]
        firsts[key] = min(firsts.get(key, row["event_time"]), row["event_time"])
    return firsts


def outcome(assigned):
    return Counter((r.user_id, r.item_id, r.event_time.replace(tzinfo=UTC), r.split, r.dropped) for r in assigned)


@pytest.mark.parametrize(
    ("split", "reference"),
    [
        (Split(name="t", kind="time", valid_days=3, test_days=5), lambda r: reference_time(r, 3, 5, "drop")),
        (
            Split(name="t", kind="time", valid_days=0, test_days=9, repeats="keep"),
            lambda r: reference_time(r, 0, 9, "keep"),
        ),
        (Split(name="l", kind="leave_last_k", k=1), lambda r: reference_leave_last(r, 1, "drop")),
        (Split(name="l", kind="leave_last_k", k=2, short_users="train"), lambda r: reference_leave_last(r, 2, "train")),
    ],
    ids=["time", "time with repeats", "leave last", "leave last two"],
)
def test_rows_go_where_the_plain_reference_puts_them_and_no_check_blocks(frame, split, reference):
    rows = random_log(seed=5)
    expected = list(reference(rows))
    assert {part for part, _ in expected} >= {"train", "test", None} - ({None} if split.repeats == "keep" else set())
    log = frame(TYPES, rows).repartition(3)
    assigned = assign_split(log, log, split, DS, seed=1).cache()
    keys = ((r["user_id"], r["item_id"], r["event_time"]) for r in rows)
    assert outcome(assigned.collect()) == Counter((*key, *e) for key, e in zip(keys, expected, strict=True))
    checks = check_leaks("interactions", assigned.where("split IS NOT NULL"), split, DS)
    assert [check.describe() for check in checks if check.verdict == "block"] == []


def test_labels_follow_the_split_of_the_signals(frame):
    signals = [("u", "train", 9), ("u", "valid", 5), ("u", "test", 2), ("short", "a", 3)]
    labels = [
        # item, label, first and last day, expected part or reason
        ("u", "train", 1, 9, 9, "train"),
        ("u", "test", 1, 2, 1, "test"),
        ("u", "test", 0, 9, 9, "pair_in_other_part"),  # shown in vain before: it would teach against the test
        ("u", "never", 0, 9, 9, "train"),
        ("u", "never", 0, 1, 1, "test"),
        ("u", "train", 1, 9, 4, "straddles_cut"),
        ("u", "weightless", 1, 9, 9, "no_signal"),
        ("short", "a", 1, 3, 3, "too_few_items"),
        ("stranger", "a", 0, 3, 3, "no_history"),
        (None, "a", 0, 3, 3, "no_user"),
        ("u", "train", 0, None, None, "no_time"),
    ]
    log = frame(TYPES, [{"user_id": u, "item_id": i, "event_time": day(d)} for u, i, d in signals])
    types = TYPES | {"last_time": "timestamp", "label": "int", "wanted": "string"}
    rows = [
        {"user_id": u, "item_id": i, "label": n, "event_time": day(a), "last_time": day(b), "wanted": w}
        for u, i, n, a, b, w in labels
    ]
    split = Split(name="l", kind="leave_last_k")
    made = assign_split(frame(types, rows), log, split, DS, seed=1).collect()
    assert [(r.wanted, r.split or r.dropped) for r in made] == [(r.wanted, r.wanted) for r in made]
    assert len(made) == len(labels)


def test_hashed_parts_hold_whole_keys_in_the_shares_asked_for(spark):
    ids = spark.range(4000).selectExpr(
        "CONCAT('u', id) AS user_id", "CONCAT('i', id) AS item_id", "TIMESTAMP'2026-06-01' AS event_time"
    )
    log = ids.union(ids).repartition(7)
    user, cold = Split(name="a", kind="user"), Split(name="b", kind="cold_users")
    items = Split(name="c", kind="cold_items", valid_share=0.0, test_share=0.2)
    made = assign_split(log, log, user, DS, seed=1).selectExpr("user_id", "item_id", "event_time", "split AS one")
    made = assign_split(made, log, user, DS, seed=2).selectExpr("*", "split AS two").drop("split", "dropped")
    made = assign_split(made, log, cold, DS, seed=1).selectExpr("*", "split AS three").drop("split", "dropped")
    made = assign_split(made, log, items, DS, seed=1)
    rows = made.collect()
    parts = {r.user_id: (r.one, r.two, r.three, r.split) for r in rows}
    assert all(parts[r.user_id] == (r.one, r.two, r.three, r.split) for r in rows)
    for place in range(3):
        counts = Counter(p[place] for p in parts.values())
        # Four standard deviations of 4,000 draws of 0.1: 4 * sqrt(4000 * 0.1 * 0.9) = 76.
        assert abs(counts["test"] - 400) < 76
        assert abs(counts["valid"] - 400) < 76
    item_counts = Counter(p[3] for p in parts.values())
    assert set(item_counts) == {"train", "test"}
    assert abs(item_counts["test"] - 800) < 102
    for other in (1, 2):  # another seed, another kind: 0.1 * 0.1 of the users are in both tests
        both = sum(p[0] == p[other] == "test" for p in parts.values())
        assert abs(both - 40) < 26


def blocked(checks):
    return {check.check: check.value for check in checks if check.verdict == "block"}


def parts_of(rows):
    """Rows of (user, item, first day, last day, part)."""
    return [
        {"user_id": u, "item_id": i, "event_time": day(first), "last_time": day(last), "split": part}
        for u, i, first, last, part in rows
    ]


HONEST = [("u", "a", 20, 20, "train"), ("u", "b", 7, 7, "valid"), ("u", "c", 2, 2, "test")]
PLANTED = {
    "time": [
        (("u", "d", 7.5, 7.5, "train"), {"train_rows_after_its_end": 1}),
        (("v", "d", 9, 8, "train"), {"train_rows_after_its_end": 1}),  # begins before the cut, counts until it
        (("u", "e", 9, 9, "valid"), {"valid_rows_before_its_start": 1}),
        (("u", "f", 1, 1, "valid"), {"valid_rows_after_its_end": 1}),
        (("u", "g", 6, 6, "test"), {"test_rows_before_its_start": 1}),
        (("u", "a", 2, 2, "test"), {"pairs_in_several_parts": 1}),
        (("u", "h", -1, -1, "test"), {"rows_after_ds": 1}),
        (("u", "i", 20, 20, None), {"rows_without_a_part": 1}),
        (("u", "j", None, None, "train"), {"rows_without_a_time": 1}),
    ],
    "leave_last_k": [
        (("u", "d", 2, 2, "train"), {"users_trained_on_their_future": 1}),  # the instant of the test
        (("v", "a", 7, 7, "train"), {}),
        (("v", "b", 8, 6, "valid"), {"users_trained_on_their_future": 1}),
        (("w", "a", 9, 9, "train"), {}),
        (("w", "a", 1, 1, "test"), {"pairs_in_several_parts": 1}),
    ],
    "user": [(("v", "a", 1, 1, "test"), {}), (("v", "z", 1, 1, "train"), {"users_in_several_parts": 1})],
    "cold_users": [(("v", "a", 1, 1, "test"), {}), (("v", "z", 1, 1, "train"), {"users_in_several_parts": 1})],
    "cold_items": [(("v", "y", 1, 1, "test"), {}), (("w", "y", 1, 1, "train"), {"items_in_several_parts": 1})],
}


@pytest.mark.parametrize("kind", PLANTED)
def test_every_planted_leak_is_found(frame, kind):
    split = Split(name="s", kind=kind, valid_days=3, test_days=5)
    honest = HONEST if kind in ("time", "leave_last_k") else [("u", "a", 20, 20, "train")]
    rows = parts_of([*honest, *(row for row, _ in PLANTED[kind])])
    rows[0]["item_valid_from"] = day(19)  # the event was on day 20, and the version is a day younger
    types = SPLIT_TYPES | {"item_valid_from": "timestamp", "last_time": "timestamp"}
    expected = sum((Counter(found) for _, found in PLANTED[kind]), Counter(catalog_versions_later_than_the_event=1))
    checks = check_leaks("interactions", frame(types, rows), split, DS)
    assert blocked(checks) == expected
    with pytest.raises(LeakError, match="catalog_versions_later_than_the_event is 1, threshold 0: block") as caught:
        refuse_leaks(checks, "s", DS)
    assert caught.value.exit_code == 20


def test_training_texts_know_neither_the_future_nor_held_out_items_nor_their_twins(frame):
    split = Split(name="t", kind="time", valid_days=3, test_days=5)
    versions = [
        ("a", "a", 30, "Old title", "A > B"),
        ("a", "a", 10, "Title", "A > C"),
        ("a", "a", 8, "Later title", "A > D"),  # the instant at which validation begins
        ("b", "b", 7, "Only later", None),
        ("c", "c", 30, "Held out", None),
        ("c2", "c", 30, "HELD OUT", None),  # the same product under another id
        ("d", "d", 30, "Nobody met it", None),
    ]
    types = {
        "item_id": "string",
        "canonical_id": "string",
        "valid_from": "timestamp",
        "title": "string",
        "category": "string",
    }
    known = frame(types, [dict(zip(types, (i, c, day(d), *r), strict=True)) for i, c, d, *r in versions])
    parts = [("u", "a", 20, "train"), ("u", "a", 1, "test"), ("u", "c", 1, "test"), ("v", "c", 7, "valid")]
    rows = frame(SPLIT_TYPES, [dict(zip(SPLIT_TYPES, (u, i, day(d), s), strict=True)) for u, i, d, s in parts])
    train_end = train_end_of(split, DS)
    assert train_end == date(2026, 6, 23)
    texts = training_texts(known, train_end, held_out_items(rows))
    assert sorted((r.item_id, r.text, r.category) for r in texts.collect()) == [
        ("a", "Title", "A > C"),
        ("d", "Nobody met it", None),
    ]
    assert blocked(check_texts(texts, rows, train_end)) == {}
    leaky = known.withColumn("text", known.title)
    assert {c.check: c.value for c in check_texts(leaky, rows, train_end)} == {
        "versions_later_than_training": 2,
        "texts_of_test_only_items": 2,
    }


def test_content_hash_tells_rows_apart_but_not_their_order(frame):
    rows = random_log(seed=6)
    shifted = [{"user_id": "x", "item_id": None}, {"user_id": None, "item_id": "x"}]
    parts = [("train", rows), ("valid", [shifted[0]]), ("test", [shifted[1]])]
    made = frame(SPLIT_TYPES, [row | {"split": part} for part, held in parts for row in held])
    one, other = (
        summarize_parts(made),
        summarize_parts(made.orderBy("event_time").repartition(7).withColumn("run_id", made.split)),
    )
    assert one == other
    assert one["train"].rows == len(rows)
    assert one["train"].users == len({row["user_id"] for row in rows})
    assert one["valid"].content_hash != one["test"].content_hash
    fewer = summarize_parts(made.where("item_id <> 'i0'"))
    assert fewer["train"].content_hash != one["train"].content_hash
