"""Pair counts against a loop over all pairs and a dictionary."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys_batch.contracts.config.night import Covisitation
from recsys_batch.workers import covisitation
from recsys_batch.workers.covisitation import CountPairs

quick = settings(derandomize=True, max_examples=40, deadline=None)
Entry = tuple[int, int, float]  # step, item, weight

# Few items and steps, so that repeats and baskets (equal steps) are common. Ascending steps, as the sequences come.
USER = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4), st.sampled_from([0.2, 0.5, 1.0])), max_size=7).map(
    sorted
)
SCHEMA = pa.schema(
    [("items", pa.list_(pa.int32())), ("steps", pa.list_(pa.int32())), ("weights", pa.list_(pa.float64()))]
)


def as_table(users: Iterable[list[Entry]]) -> pa.Table:
    rows = [{"steps": [e[0] for e in u], "items": [e[1] for e in u], "weights": [e[2] for e in u]} for u in users]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def count_slowly(users: Iterable[list[Entry]], config: Covisitation) -> Counter[tuple[int, int]]:
    """Say with loops what `CountPairs` promises."""
    sums: Counter[tuple[int, int]] = Counter()
    for entries in users:
        for place, (step, item, weight) in enumerate(entries):
            for later_step, later_item, later_weight in entries[place + 1 :]:
                distance = later_step - step
                if distance > config.max_distance:
                    continue
                pair = math.sqrt(weight * later_weight) * config.distance_decay ** max(distance - 1, 0)
                sums[item, later_item] += pair
                if item != later_item:
                    sums[later_item, item] += pair * (config.backward if distance else 1.0)
    return +sums  # without pairs that weigh nothing, which may be left out or not


def as_sums(table: pa.Table) -> Counter[tuple[int, int]]:
    sums: Counter[tuple[int, int]] = Counter()
    for row in table.to_pylist():
        sums[row["item"], row["neighbor"]] += row["weight"]
    return +sums


@quick
@given(
    st.lists(USER, max_size=5), st.integers(1, 4), st.sampled_from([0.25, 0.7, 1.0]), st.sampled_from([0.0, 0.3, 1.0])
)
@example([[(1, 0, 1.0), (1, 1, 1.0), (2, 0, 0.5), (5, 2, 1.0)]], 3, 0.7, 0.3)
def test_sums_are_those_of_the_loop(
    build: Any, users: list[list[Entry]], reach: int, decay: float, backward: float
) -> None:
    config = Covisitation(max_distance=reach, distance_decay=decay, backward=backward)
    made = build.run_task(CountPairs(config), as_table(users))
    assert as_sums(made) == pytest.approx(count_slowly(users, config))
    pairs = list(zip(made["item"].to_pylist(), made["neighbor"].to_pylist(), strict=True))
    assert len(pairs) == len(set(pairs))


def test_one_user_by_arithmetic(build: Any) -> None:
    # Items 7 and 8 in one basket, then 9 two steps later at a quarter of the weight.
    config = Covisitation(distance_decay=0.7, backward=0.5, max_distance=10)
    made = build.run_task(CountPairs(config), as_table([[(1, 7, 1.0), (1, 8, 1.0), (3, 9, 0.25)]]))
    late = 0.7 ** (2 - 1) * math.sqrt(1.0 * 0.25)
    assert as_sums(made) == pytest.approx(
        {(7, 8): 1.0, (8, 7): 1.0, (7, 9): late, (9, 7): late / 2, (8, 9): late, (9, 8): late / 2}
    )


def test_large_item_indices_do_not_run_into_each_other(build: Any) -> None:
    last = 2**31 - 1
    made = build.run_task(CountPairs(Covisitation()), as_table([[(1, last, 1.0), (2, 0, 1.0), (3, last - 1, 1.0)]]))
    assert set(as_sums(made)) == {(a, b) for a in (last, 0, last - 1) for b in (last, 0, last - 1) if a != b}


@quick
@given(st.lists(USER, max_size=6), st.lists(st.integers(0, 6), max_size=3))
def test_where_a_batch_ends_never_changes_a_sum(build: Any, users: list[list[Entry]], cuts: list[int]) -> None:
    task = CountPairs(Covisitation())
    assert build.run_task(task, as_table(users), cuts).equals(build.run_task(task, as_table(users)))


@quick
@given(st.lists(USER, min_size=1, max_size=6), st.lists(st.integers(0, 6), max_size=3), st.integers(1, 20))
def test_partial_sums_add_up_however_few_pairs_are_held(
    build: Any, users: list[list[Entry]], cuts: list[int], held: int
) -> None:
    config = Covisitation()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covisitation, "_PAIRS_HELD", held)
        batches = list(CountPairs(config)(build.cut_batches(as_table(users), cuts)))
    assert as_sums(pa.Table.from_batches(batches, CountPairs(config).output_schema)) == pytest.approx(
        count_slowly(users, config)
    )
    # Each batch closes with the user that filled it: nobody has more than 7 * 6 pairs.
    assert all(batch.num_rows <= held + 42 for batch in batches)


def test_users_without_pairs_yield_nothing(build: Any) -> None:
    assert list(CountPairs(Covisitation())(build.cut_batches(as_table([[], [(1, 3, 1.0)]]), [1]))) == []
