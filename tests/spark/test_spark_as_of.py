"""Interactions of an earlier date, and the cuts that a ranker learns from: nothing later may be known."""

from datetime import date, timedelta

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.contracts.config.ranker import RankerTraining
from recsys_batch.replay.cuts import cuts_by_days, cuts_by_last_acts, requests_between, requests_of
from recsys_batch.spark.events.as_of import interactions_as_of
from recsys_batch.spark.events.interactions import match_undoings, weigh_interactions

DS = date(2026, 6, 30)
PREPARE = Prepare(half_life_days=10.0)
TYPES = Inputs.TYPES["events"] | {"item_index": "int", "event_key": "string"}


def prepared(frame, rows, ds=DS):
    """The interactions that a night of `ds` prepares from raw rows."""
    full = [{"event_type": "purchase", "event_key": str(n), "user_id": "u"} | row for n, row in enumerate(rows)]
    events = frame(TYPES, full).where(F.to_date("event_time") <= F.lit(ds)).persist()
    return weigh_interactions(events, match_undoings(events), ds, PREPARE).drop("event_key")


def on(day, hour=12, **columns):
    return {"event_time": f"2026-06-{day:02} {hour:02}:00:00", "item_index": 1, **columns}


LOG = [
    on(1, item_index=1),
    on(3, item_index=1, quantity=2.0),
    on(5, item_index=2),
    on(9, item_index=2, event_type="return"),  # takes back what the cut of the 8th knows as bought
    on(4, item_index=3, event_type="favorite"),
    on(20, item_index=3, event_type="unfavorite"),
    on(8, hour=23, item_index=4, event_type="view"),
    on(9, hour=0, item_index=5, event_type="view"),
    on(7, item_index=6, event_type="view", received_at="2026-06-10 00:00:00"),  # happened before, known after
    on(6, item_index=7, event_type="view", received_at="2026-06-07 00:00:00"),
    on(2, item_index=8, event_type="rating", rating=1.0),
]


def test_an_earlier_date_knows_what_a_night_of_then_would_have_prepared(frame):
    cut = date(2026, 6, 8)
    made = interactions_as_of(prepared(frame, LOG), cut, PREPARE).collect()
    # A night of the 8th, on the log without the row that arrived too late.
    then = prepared(frame, [row for row in LOG if row["item_index"] != 6], cut).collect()
    columns = ("item_index", "event_type", "undone", "matched_quantity", "late", "age_days", "type_weight", "weight")

    def shown(rows):
        return sorted(([getattr(row, c) for c in columns] for row in rows), key=str)

    assert shown(made) == shown(then)
    assert {row.item_index for row in made} == {1, 2, 3, 4, 7, 8}
    assert not any(row.undone for row in made)


def test_later_rows_change_nothing_that_was_known(frame):
    # The answer stands in the log: the same user buys item 9 the day after the cut, and returns an earlier purchase.
    planted = [*LOG, on(9, item_index=9), on(10, item_index=1, event_type="return", quantity=9.0)]
    cut = date(2026, 6, 8)
    plain, with_answer = (
        sorted(map(str, interactions_as_of(prepared(frame, rows), cut, PREPARE).collect())) for rows in (LOG, planted)
    )
    assert plain == with_answer


def test_cuts_are_apart_by_the_days_and_what_is_wanted_comes_after_each(frame):
    training = RankerTraining(days=7, cuts=3)
    rows = [on(day, item_index=day) for day in range(1, 31)]
    cuts = list(cuts_by_days(prepared(frame, rows), DS, PREPARE, training))
    found = [
        (
            max(row.item_index for row in cut.known.collect()),
            sorted(row.item_index for row in cut.wanted.collect()),
        )
        for cut in cuts
    ]
    assert found == [(23, [*range(24, 31)]), (16, [*range(17, 24)]), (9, [*range(10, 17)])]


def test_cuts_may_stand_closer_than_their_days(frame):
    training = RankerTraining(days=7, step=3, cuts=3)
    rows = [on(day, item_index=day) for day in range(1, 31)]
    cuts = list(cuts_by_days(prepared(frame, rows), DS, PREPARE, training))
    found = [
        (max(row.item_index for row in cut.known.collect()), sorted(row.item_index for row in cut.wanted.collect()))
        for cut in cuts
    ]
    assert found == [(23, [*range(24, 31)]), (20, [*range(21, 28)]), (17, [*range(18, 25)])]
    assert [cut.days for cut in cuts] == [(date(2026, 6, day), date(2026, 6, day + 6)) for day in (24, 21, 18)]


def test_what_was_taken_back_or_is_of_another_type_is_not_wanted(frame):
    rows = [
        on(24, item_index=1),
        on(25, item_index=2),
        on(26, item_index=2, event_type="return"),
        on(27, item_index=3, event_type="view"),
        on(28, item_index=None, event_type="search", query="mug"),
    ]
    (cut,) = cuts_by_days(prepared(frame, rows), DS, PREPARE, RankerTraining(days=7, cuts=1))
    assert [row.item_index for row in cut.wanted.collect()] == [1]
    (cut,) = cuts_by_days(
        prepared(frame, rows), DS, PREPARE, RankerTraining(days=7, cuts=1, event_types=["purchase", "view"])
    )
    assert sorted(row.item_index for row in cut.wanted.collect()) == [1, 3]


def test_last_acts_are_held_out_one_by_one(frame):
    rows = [
        *(on(day, item_index=item) for day, item in ((1, 10), (2, 11), (3, 12), (4, 11))),
        on(4, item_index=11, hour=13),  # the same item on the same day is the same act
        *(on(day, item_index=item, user_id="v") for day, item in ((1, 20), (1, 21))),
    ]
    cuts = list(cuts_by_last_acts(prepared(frame, rows), RankerTraining(cuts=3)))

    def shown(frame_):
        return sorted((row.user_id, row.item_index) for row in frame_.select("user_id", "item_index").collect())

    assert [shown(cut.wanted) for cut in cuts] == [
        [("u", 11), ("v", 21)],
        [("u", 12), ("v", 20)],
        [("u", 11)],
    ]
    assert [shown(cut.known) for cut in cuts] == [
        [("u", 10), ("u", 11), ("u", 12), ("v", 20)],
        [("u", 10), ("u", 11)],
        [("u", 10)],
    ]


def test_histories_become_requests_newest_last(frame):
    rows = [on(day, item_index=day, item_id=f"i{day}") for day in (1, 2, 3, 4)]
    (row,) = requests_of(prepared(frame, rows), 3).collect()
    assert (row.request_id, row.item_ids, row.query) == ("u", ["i2", "i3", "i4"], None)


def test_every_moment_after_a_cut_is_a_request_of_what_came_before(frame):
    # Two items of one moment; a view; a moment after the last day; another user's first act.
    acts = [(1, 5, 0), (2, 6, 0), (21, 8, 0), (21, 7, 0), (22, 9, 0), (23, 5, 1), (24, 6, 0), (29, 1, 0)]
    rows = [
        on(day, item_index=item, item_id=f"i{item}", event_type="view" if view else "purchase")
        for day, item, view in acts
    ]
    rows += [on(22, item_index=3, item_id="i3", user_id="v")]
    first, last, length = date(2026, 6, 21), date(2026, 6, 28), 3
    made = requests_between(prepared(frame, rows), first, last, length, RankerTraining()).collect()
    expected = {}
    for day in range(first.day, last.day + 1):
        before = [f"i{item}" for _, item in sorted((d, i) for d, i, _ in acts if d < day)][-length:]
        if targets := sorted(item for d, item, view in acts if d == day and not view):
            expected[day] = (before, targets)
    assert len(expected) == 3
    assert sorted((row.item_ids, row.targets) for row in made) == sorted(expected.values())
    assert {row.user_id for row in made} == {"u"}
    assert len({row.request_id for row in made}) == len(made)


@pytest.mark.parametrize("days", [0, 40])
def test_without_acts_after_the_cut_nothing_is_wanted(frame, days):
    rows = [on(1, item_index=1)]
    (cut,) = cuts_by_days(prepared(frame, rows, DS + timedelta(days=days)), DS, PREPARE, RankerTraining(days=7, cuts=1))
    assert cut.wanted.isEmpty()
