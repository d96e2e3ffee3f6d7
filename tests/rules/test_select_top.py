"""The category cap, against a reference that looks at each candidate by itself."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys_batch.rules.rerank import select_top


def reference(categories: list[int], top_n: int, cap: int) -> tuple[list[int], int]:
    """Return the chosen positions and how many of them are over the cap.

    A candidate is within the cap where fewer than `cap` better ones share its category; those come first, and the
    others only fill what is left of the list.
    """
    within = [p for p, c in enumerate(categories) if cap <= 0 or c < 0 or categories[:p].count(c) < cap]
    chosen = within[:top_n]
    over = [p for p in range(len(categories)) if p not in within][: top_n - len(chosen)]
    return sorted(chosen + over), len(over)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.integers(-1, 3), max_size=12), st.integers(1, 8), st.integers(0, 4))
@example([0, 0, 0, 1], 2, 1)
@example([0, 0, 0, 1], 3, 1)
@example([-1, -1, -1, 0, 0], 4, 1)
def test_the_selection_is_the_reference(categories: list[int], top_n: int, cap: int) -> None:
    selection = select_top(np.array(categories, dtype=np.int64), top_n, cap)
    positions, _ = reference(categories, top_n, cap)
    assert selection.positions.tolist() == positions


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.integers(-1, 3), max_size=12), st.integers(1, 8), st.integers(0, 4))
@example([0, 0, 0], 3, 1)
def test_every_item_over_the_cap_is_counted(categories: list[int], top_n: int, cap: int) -> None:
    assert (
        select_top(np.array(categories, dtype=np.int64), top_n, cap).num_over_cap
        == reference(categories, top_n, cap)[1]
    )


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.integers(-1, 3), max_size=12), st.integers(1, 8), st.integers(1, 4))
def test_a_list_is_over_the_cap_only_where_it_would_fall_short(categories: list[int], top_n: int, cap: int) -> None:
    chosen = select_top(np.array(categories, dtype=np.int64), top_n, cap).positions.tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(top_n, len(categories))
    shown = [categories[position] for position in chosen]
    within_reach = sum(min(categories.count(c), cap) if c >= 0 else categories.count(c) for c in set(categories))
    if within_reach >= top_n:
        assert all(shown.count(c) <= cap for c in set(shown) if c >= 0)


def test_by_example() -> None:
    # Ranked categories a a a b c a; at most two of a: the third a gives way to b and c.
    selection = select_top(np.array([0, 0, 0, 1, 2, 0]), top_n=4, category_cap=2)
    assert selection.positions.tolist() == [0, 1, 3, 4]
    assert selection.num_over_cap == 0
    # Five wanted: the better of the two capped ones fills the list, at its own place.
    selection = select_top(np.array([0, 0, 0, 1, 2, 0]), top_n=5, category_cap=2)
    assert selection.positions.tolist() == [0, 1, 2, 3, 4]
    assert selection.num_over_cap == 1
