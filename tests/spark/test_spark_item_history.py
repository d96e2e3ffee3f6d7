"""Catalog history against plain Python on the same random rows, and the as-of join against a look at every version."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta

import pytest

from recsys_batch.contracts.columns import Tables
from recsys_batch.spark.catalog.item_history import item_versions, join_as_of, observe_items

COLUMNS = ("title", "brand", "price")
TYPES = {"item_id": "string", "updated_at": "timestamp", "title": "string", "brand": "string", "price": "double"}
ALWAYS = "1970-01-01 00:00:00"
# Few, so that neighbors are often equal; nulls, blanks and equal values in different columns must not be mixed up.
CONTENTS = [("a", None, None), (None, "a", None), ("", "a", None), ("茶", "a", 0.5), ("茶", "a", None)]
NIGHTS = [date(2026, 6, day) for day in (3, 5, 8)]


def row(item_id, updated_at, title, brand=None, price=None):
    return {"item_id": item_id, "updated_at": updated_at, "title": title, "brand": brand, "price": price}


def versions_of(lake, ds, columns=COLUMNS):
    """Item -> its versions, oldest first, as (valid_from, valid_to, content); flags and hashes are checked here."""
    text = [f"string({c}) AS {c}" for c in ("valid_from", "valid_to")]
    rows = item_versions(lake, ds, columns).selectExpr("item_id", *text, "version_hash", *columns, "is_current")
    found, hashes = {}, {}
    for one in sorted(rows.collect(), key=lambda one: (one.item_id, one.valid_from)):
        assert one.is_current == (one.valid_to is None)
        content = tuple(one[c] for c in columns)
        assert hashes.setdefault(one.version_hash, content) == content
        found.setdefault(one.item_id, []).append((one.valid_from, one.valid_to, content))
    return found, {content: hash_ for hash_, content in hashes.items()}


def spans(starts):
    """[(valid_from, content)], oldest first -> [(valid_from, valid_to, content)] without consecutive equals."""
    kept = [start for n, start in enumerate(starts) if n == 0 or start[1] != starts[n - 1][1]]
    ends = [at for at, _ in kept[1:]] + [None]
    return [(at, end, content) for (at, content), end in zip(kept, ends, strict=True)]


def dated_rows(draw):
    """Rows of thirty items with an arrival night each: some late, repeated, undated, or later than the last night."""
    rows = []
    for number in range(30):
        for _ in range(draw.randrange(1, 7)):
            at = f"2026-06-{draw.randrange(1, 11):02d} {draw.choice(['00:00:00', '12:30:00', '23:59:59'])}"
            rows.append((draw.randrange(len(NIGHTS)), row(f"i{number}", at, *draw.choice(CONTENTS))))
        if number % 5 == 0:
            rows.append((draw.randrange(len(NIGHTS)), row(f"i{number}", None, "before all")))
        # So that the item has a dated row from the first night on, and is no snapshot.
        rows.append((0, row(f"i{number}", "2026-06-01 06:00:00", "first")))
    return rows


def test_many_nights_with_late_rows_equal_one_pass_and_say_what_was_last_known(spark, frame, lake, tmp_path):
    from recsys_batch.spark.lake.tables import Lake

    drawn = dated_rows(random.Random(2))
    full = Lake.at(spark, str(tmp_path / "full"))
    for night, ds in enumerate(NIGHTS):
        observe_items(lake, frame(TYPES, [r for arrived, r in drawn if arrived <= night]).repartition(3), COLUMNS, ds)
    everything = frame(TYPES, [r for _, r in drawn])
    observe_items(full, everything, COLUMNS, NIGHTS[-1])
    found, hashes = versions_of(lake, NIGHTS[-1])
    assert len(hashes) == len(CONTENTS) + 2
    num_merged = 0
    assert found == versions_of(full, NIGHTS[-1])[0]
    # The same by hand: at each instant the content of the greatest hash, rows after the last night ignored.
    for item, versions in found.items():
        at = {}
        for _, r in drawn:
            when = r["updated_at"] or ALWAYS
            if r["item_id"] == item and when < "2026-06-09":
                at.setdefault(when, []).append((r["title"], r["brand"], r["price"]))
        known = {when: max(contents, key=lambda c: hashes.get(c, "")) for when, contents in at.items()}
        assert versions == spans(sorted(known.items())), item
        num_merged += len(known) - len(versions)
    assert num_merged > 10
    assert len({len(versions) for versions in found.values()}) > 3
    # As of an earlier night nothing later shows; a run of that night, again, changes nothing.
    early = versions_of(lake, NIGHTS[0])[0]
    assert max(versions[-1][0] for versions in early.values()) <= "2026-06-03 23:59:59"
    count = lake.read(Tables.ITEM_HISTORY).count()
    observe_items(lake, everything, COLUMNS, NIGHTS[-1])
    assert lake.read(Tables.ITEM_HISTORY).count() == count


def test_a_snapshot_that_is_overwritten_each_night_gets_a_history(frame, lake):
    # Item -> its title on each night; None: not in the catalog that night.
    titles = {
        "same": ["A", "A", "A"],
        "back": ["A", "B", "A"],
        "new": [None, "A", "B"],
        "gone": ["A", None, "B"],
        "blank": ["", "A", ""],
    }
    at = [ALWAYS] + [f"{ds} 00:00:00" for ds in NIGHTS[1:]]
    for night, ds in enumerate(NIGHTS):
        rows = [row(item, None, t[night]) for item, t in titles.items() if t[night] is not None]
        # What is dated is no snapshot: its undated row holds since always, whatever came before.
        rows += [row("dated", None, "old"), row("dated", "2026-06-04 10:00:00", "new")]
        for _ in range(1 + (night == 1)):
            observe_items(lake, frame(TYPES, rows), COLUMNS, ds)
    found = {item: [(start, end, c[0]) for start, end, c in v] for item, v in versions_of(lake, NIGHTS[-1])[0].items()}
    assert found == {
        "same": [(at[0], None, "A")],
        "back": [(at[0], at[1], "A"), (at[1], at[2], "B"), (at[2], None, "A")],
        "new": [(at[0], at[2], "A"), (at[2], None, "B")],
        "gone": [(at[0], at[2], "A"), (at[2], None, "B")],
        "blank": [(at[0], at[1], ""), (at[1], at[2], "A"), (at[2], None, "")],
        "dated": [(at[0], "2026-06-04 10:00:00", "old"), ("2026-06-04 10:00:00", None, "new")],
    }
    # A night that says nothing new stores nothing.
    assert lake.read(Tables.ITEM_HISTORY).count() == sum(len(versions) for versions in found.values())


def test_what_a_catalog_only_says_again_is_not_stored(frame, lake):
    """An export stamps `updated_at` anew every night; only a change of a history column makes a row."""
    nights = [date(2026, 6, day) for day in range(1, 7)]
    prices = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0]
    counts = []
    for ds, price in zip(nights, prices, strict=True):
        rows = [row(f"i{n}", f"{ds} 05:00:00", "kettle", price=price if n == 0 else 9.0) for n in range(5)]
        # Undated beside a row that says the same is no snapshot of tonight: the item was so always.
        rows += [row("both", None, "lamp"), row("both", f"{ds} 05:00:00", "lamp")]
        for _ in range(2):
            observe_items(lake, frame(TYPES, rows), COLUMNS, ds)
            counts.append(lake.read(Tables.ITEM_HISTORY).count())
    assert counts == [6, 6, 6, 6, 7, 7, 7, 7, 8, 8, 8, 8]
    found, hash_of = versions_of(lake, nights[-1])
    at = [f"2026-06-0{day} 05:00:00" for day in (1, 3, 5)]
    assert [(start, end, content[2]) for start, end, content in found["i0"]] == [
        (at[0], at[1], 1.0),
        (at[1], at[2], 2.0),
        (at[2], None, 1.0),
    ]
    assert found["i4"] == [(at[0], None, ("kettle", None, 9.0))]
    assert found["both"] == [(ALWAYS, None, ("lamp", None, None))]
    # One more content of an instant takes the place of the other there, or leaves it, by its hash: never both.
    observe_items(lake, frame(TYPES, [row("i0", at[1], "kettle", price=1.0)]), COLUMNS, nights[-1])
    found = versions_of(lake, nights[-1])[0]
    wins = hash_of[("kettle", None, 1.0)] > hash_of[("kettle", None, 2.0)]
    assert [content[2] for *_, content in found["i0"]] == ([1.0] if wins else [1.0, 2.0, 1.0])


def test_what_was_touched_after_midnight_holds_from_then_on_and_says_nothing_of_the_day(frame, lake):
    rows = [row("i", "2026-06-03 10:00:00", "kettle", price=1.0), row("i", "2026-06-04 00:30:00", "kettle", price=2.0)]
    observe_items(lake, frame(TYPES, rows), COLUMNS, NIGHTS[0])
    at = ["2026-06-03 10:00:00", "2026-06-04 00:30:00"]
    assert versions_of(lake, NIGHTS[0])[0] == {"i": [(at[0], None, ("kettle", None, 1.0))]}
    # The export of the next night has a newer row only.
    observe_items(lake, frame(TYPES, [row("i", "2026-06-05 09:00:00", "kettle", price=3.0)]), COLUMNS, NIGHTS[1])
    found = versions_of(lake, NIGHTS[1])[0]["i"]
    assert [(start, content[2]) for start, _, content in found] == [
        (at[0], 1.0),
        (at[1], 2.0),
        ("2026-06-05 09:00:00", 3.0),
    ]


def test_other_columns_are_another_history_and_two_runs_at_once_are_one(frame, lake):
    rows = [row("a", None, "A", None, 1.0), row("b", "2026-06-01 00:00:00", "B", "x")]
    made = frame(TYPES, rows)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda ds: observe_items(lake, made, ("title",), ds), [NIGHTS[0]] * 2))
    assert lake.read(Tables.ITEM_HISTORY).count() == 2
    observe_items(lake, made, COLUMNS, NIGHTS[1])
    assert versions_of(lake, NIGHTS[1], ("title",))[0] == {
        "a": [(ALWAYS, None, ("A",))],
        "b": [("2026-06-01 00:00:00", None, ("B",))],
    }
    # What the catalog says of a brand today it may not have said before it was first looked at.
    assert versions_of(lake, NIGHTS[1])[0] == {
        "a": [("2026-06-05 00:00:00", None, ("A", None, 1.0))],
        "b": [("2026-06-01 00:00:00", None, ("B", "x", None))],
    }


def versions_and_events(draw):
    """A hundred cases: up to eight versions at few instants, events around them, and items that nobody knows."""
    start = datetime(2026, 6, 1)
    versions, events = [], []
    for case in range(100):
        item = f"i{case}" if case % 10 else None
        instants = sorted(draw.sample(range(20), draw.choice([1, 1, 2, 8])))
        if case % 7 and item:
            ends = [*instants[1:], None]
            versions += [
                {"item_id": item, "valid_from": at(start, a), "valid_to": None if b is None else at(start, b)}
                for a, b in zip(instants, ends, strict=True)
            ]
        events += [
            {"n": len(events) + k, "item_id": item, "event_time": at(start, draw.randrange(80) / 4 - 1)}
            for k in range(draw.randrange(5))
        ]
    return versions, events + events[:20]


def at(start, hours):
    return (start + timedelta(hours=hours)).isoformat(sep=" ")


@pytest.mark.parametrize("bound", [500_000, 3])
def test_an_event_gets_the_version_of_its_time_and_stays_one_row(frame, bound):
    versions, events = versions_and_events(random.Random(4))
    kinds = {"item_id": "string", "valid_from": "timestamp", "valid_to": "timestamp"}
    made = join_as_of(
        frame({"n": "int", "item_id": "string", "event_time": "timestamp"}, events).repartition(3),
        frame(kinds, versions).repartition(2),
        bound,
    )
    assert made.columns == ["n", "item_id", "event_time", "item_valid_from"]
    rows = made.selectExpr("n", "item_id", "string(event_time) AS time", "string(item_valid_from) AS seen").collect()
    found = sorted((one.n, one.item_id, one.time, one.seen) for one in rows if one.item_id is not None)
    expected = []
    for event in events:
        # Every version that had begun, whatever its end says: the last of them.
        begun = [
            v["valid_from"]
            for v in versions
            if v["item_id"] == event["item_id"] and v["valid_from"] <= event["event_time"]
        ]
        expected.append((event["n"], event["item_id"], event["event_time"], max(begun, default=None)))
    assert found == sorted(e for e in expected if e[1] is not None)
    assert sorted(one.n for one in rows if one.item_id is None) == sorted(e[0] for e in expected if e[1] is None)
    assert all(one.seen is None for one in rows if one.item_id is None)
    assert len({one.seen is None for one in rows}) == 2


def test_a_past_date_run_again_on_the_catalog_of_today_rewrites_no_history(frame, lake):
    def night(ds, price, **options):
        observe_items(lake, frame(TYPES, [row("i", None, "kettle", price=price)]), COLUMNS, ds, **options)

    night(NIGHTS[0], 10.0)
    night(NIGHTS[2], 20.0)
    known = versions_of(lake, NIGHTS[2])[0]
    assert [(start, content[2]) for start, _, content in known["i"]] == [
        (ALWAYS, 10.0),
        (f"{NIGHTS[2]} 00:00:00", 20.0),
    ]
    night(NIGHTS[1], 20.0, is_of_ds=False)
    assert versions_of(lake, NIGHTS[2])[0] == known
    # Dated rows say themselves since when they hold.
    dated = frame(TYPES, [row("j", "2026-06-04 00:00:00", "lamp")])
    observe_items(lake, dated, COLUMNS, NIGHTS[1], is_of_ds=False)
    assert set(versions_of(lake, NIGHTS[2])[0]) == {"i", "j"}
