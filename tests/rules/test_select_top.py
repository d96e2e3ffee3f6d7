"""The selection of lists, against references that look at one list and one candidate at a time."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys_batch.rules.rerank import Cap, Diversity, boosted, select_lists

CODES = st.lists(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 2)), max_size=12), max_size=5)


def starts_of(lists: list[list]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(each) for each in lists])]).astype(np.int64)


def caps_of(lists: list[list[tuple[int, int]]], most: tuple[int, int]) -> list[Cap]:
    flat = [codes for each in lists for codes in each]
    return [
        Cap(np.array([codes[kind] for codes in flat], dtype=np.int64), most[kind]) for kind in (0, 1) if most[kind] > 0
    ]


def one_by_one(codes: list[tuple[int, int]], top_n: int, most: tuple[int, int]) -> tuple[list[int], int]:
    """Take the candidates in order where no cap is reached, then the best of those left out."""
    chosen: list[int] = []
    for place, own in enumerate(codes):
        reached = any(
            most[kind] > 0 and own[kind] >= 0 and sum(codes[p][kind] == own[kind] for p in chosen) >= most[kind]
            for kind in (0, 1)
        )
        if len(chosen) < top_n and not reached:
            chosen.append(place)
    over = [place for place in range(len(codes)) if place not in chosen][: top_n - len(chosen)]
    return sorted(chosen + over), len(over)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(CODES, st.integers(1, 8), st.tuples(st.integers(0, 4), st.integers(0, 3)))
@example([[(0, 0)] * 3 + [(1, 0)]], 2, (1, 0))
@example([[(0, 0)] * 3 + [(1, 0)]], 3, (1, 0))
@example([[(-1, -1)] * 3, [], [(0, 1)] * 4], 4, (1, 2))
def test_caps_are_those_of_one_list_at_a_time(
    lists: list[list[tuple[int, int]]], top_n: int, most: tuple[int, int]
) -> None:
    starts = starts_of(lists)
    selection = select_lists(starts, top_n, caps_of(lists, most))
    wanted = [one_by_one(codes, top_n, most) for codes in lists]
    for number, (positions, _) in enumerate(wanted):
        mine = selection.positions_L[selection.owners_L == number] - starts[number]
        assert mine.tolist() == positions
    assert selection.num_over_cap == sum(over for _, over in wanted)
    assert selection.positions_L.tolist() == sorted(selection.positions_L.tolist())


def greedy(
    scores: np.ndarray, vectors: np.ndarray, codes: list[int], top_n: int, strength: float, most: int
) -> list[int]:
    """Take one after the other what has the highest marginal relevance."""
    low, high = scores.min(), scores.max()
    relevance = (scores - low) / (high - low) if high > low else np.zeros(len(scores))
    chosen: list[int] = []
    while len(chosen) < min(top_n, len(scores)):
        best, best_value = None, -np.inf
        for place in range(len(scores)):
            if place in chosen or (most and sum(codes[p] == codes[place] for p in chosen) >= most):
                continue
            closest = max([0.0, *(float(vectors[place] @ vectors[p]) for p in chosen)])
            value = (1 - strength) * relevance[place] - strength * closest
            if value > best_value + 1e-9:
                best, best_value = place, value
        if best is None:
            break
        chosen.append(best)
    rest = [place for place in range(len(scores)) if place not in chosen]
    return sorted(chosen + rest[: min(top_n, len(scores)) - len(chosen)])


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 2))
def test_diversity_is_maximal_marginal_relevance(seed: int, top_n: int, strength: float, most: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(40, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths = rng.integers(0, 5 * top_n + 1, size=4)
    items = [rng.permutation(40)[:n] for n in lengths]
    scores = [np.sort(rng.normal(size=len(each)))[::-1].astype(np.float32) for each in items]
    codes = [rng.integers(0, 3, size=len(each)) for each in items]
    starts = starts_of(items)
    diversity = Diversity(strength, np.concatenate(scores), np.concatenate(items).astype(np.int64), vectors)
    caps = [Cap(np.concatenate(codes).astype(np.int64), most)] if most else []
    selection = select_lists(starts, top_n, caps, diversity)
    for number, own in enumerate(items):
        mine = (selection.positions_L[selection.owners_L == number] - starts[number]).tolist()
        wanted = (
            greedy(scores[number].astype(np.float64), vectors[own], codes[number].tolist(), top_n, strength, most)
            if len(own)
            else []
        )
        assert mine == wanted


def test_diversity_by_example() -> None:
    # The second is the first once more, the third is another thing of half the score.
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    scores, items, starts = np.array([1.0, 0.9, 0.5], dtype=np.float32), np.arange(3), np.array([0, 3])
    by_score = select_lists(starts, 2, (), Diversity(0.1, scores, items, vectors))
    assert by_score.positions_L.tolist() == [0, 1]
    varied = select_lists(starts, 2, (), Diversity(0.6, scores, items, vectors))
    assert varied.positions_L.tolist() == [0, 2]


def test_what_stands_behind_the_pool_only_fills_a_list() -> None:
    # Of one list of 12, a list of two looks at the best ten: the others are unlike all, and stay out all the same.
    vectors = np.eye(4, dtype=np.float32)
    items = np.array([0] * 10 + [1, 2])
    scores = np.linspace(1, 0, 12).astype(np.float32)
    selection = select_lists(np.array([0, 12]), 2, (), Diversity(0.9, scores, items, vectors))
    assert max(selection.positions_L) < 10
    capped = select_lists(np.array([0, 12]), 2, [Cap(items, 1)], Diversity(0.9, scores, items, vectors))
    assert capped.positions_L.tolist() == [0, 10]
    assert capped.num_over_cap == 0


def test_boosts_are_shares_of_the_range_of_a_list() -> None:
    scores = np.array([4.0, 2.0, 0.0, 7.0, 7.0], dtype=np.float32)
    boosts = np.array([0.0, 0.6, -0.25, 0.5, 0.0], dtype=np.float32)
    made = boosted(scores, np.array([0, 3, 3, 5]), boosts)
    assert made.tolist() == pytest.approx([4.0, 2 + 0.6 * 4, -0.25 * 4, 7.5, 7.0])
    assert boosted(scores[:0], np.array([0, 0]), boosts[:0]).size == 0
