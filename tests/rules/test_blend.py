"""Blending the sources' scores, against loops and the standard library's statistics."""

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from recsys_batch.rules.blend import Calibration, blend, calibrate, list_order, rank_order

quick = settings(derandomize=True, max_examples=60, deadline=None)
SCORES = st.floats(-50, 50, width=32)
METHODS = st.sampled_from(["none", "max", "zscore"])


def one(scores: np.ndarray) -> np.ndarray:
    return np.array([0, len(scores)])


def calibrated(scores: list[float], method: Calibration) -> list[float]:
    """Say in plain Python what `calibrate` promises."""
    if method == "none" or not scores:
        return scores
    if method == "max":
        return [s / max(scores) for s in scores] if max(scores) > 0 else scores
    spread = statistics.pstdev(scores)
    return [(s - statistics.fmean(scores)) / spread if spread > 1e-12 else 0.0 for s in scores]


def test_calibration_by_arithmetic() -> None:
    scores = np.array([1.0, 2.0, 5.0])
    assert_array_equal(calibrate(scores, one(scores), "none"), [1.0, 2.0, 5.0])
    assert_allclose(calibrate(scores, one(scores), "max"), [1 / 5, 2 / 5, 1.0])
    # Mean 8/3, deviations -5/3, -2/3, 7/3, variance (25 + 4 + 49) / 27.
    assert_allclose(calibrate(scores, one(scores), "zscore"), np.array([-5, -2, 7]) / 3 / np.sqrt(78 / 27))


def test_calibration_of_scores_without_scale() -> None:
    for scores, method, expected in (
        (np.array([-2.0, 0.0]), "max", [-2.0, 0.0]),
        (np.zeros(3), "max", np.zeros(3)),
        (np.full(7, 0.1), "zscore", np.zeros(7)),
    ):
        assert_array_equal(calibrate(scores, one(scores), method), expected)
    for method in ("none", "max", "zscore"):
        assert calibrate(np.zeros(0), np.array([0, 0]), method).shape == (0,)


def test_equal_large_scores_have_no_spread() -> None:
    # The mean of equal numbers is off by a rounding error, which is no spread to divide by.
    assert_array_equal(calibrate(np.full(3, 1e8 + 0.1), np.array([0, 3]), "zscore"), np.zeros(3))


@quick
@given(
    st.lists(st.lists(st.tuples(SCORES, SCORES, SCORES), max_size=6), max_size=4), st.tuples(METHODS, METHODS, METHODS)
)
def test_the_blend_is_the_weighted_sum_of_calibrated_sources(
    lists: list[list[tuple[float, float, float]]], methods: tuple[Calibration, ...]
) -> None:
    starts = np.concatenate([[0], np.cumsum([len(each) for each in lists])]).astype(np.int64)
    scores_SN = np.array([scores for each in lists for scores in each], dtype=np.float64).reshape(-1, 3).T.copy()
    before = scores_SN.copy()
    weights = (0.8, 1.0, 0.08)
    blended, parts = blend(scores_SN, starts, methods, weights)
    expected = [
        [weight * score for each in lists for score in calibrated([scores[source] for scores in each], methods[source])]
        for source, weight in enumerate(weights)
    ]
    assert_allclose(parts, np.array(expected).reshape(parts.shape), rtol=1e-6, atol=1e-6)
    assert_allclose(blended, np.array(expected).reshape(parts.shape).sum(axis=0), rtol=1e-6, atol=1e-6)
    assert_array_equal(scores_SN, before)


def test_each_source_needs_a_method_and_a_weight() -> None:
    with pytest.raises(ValueError, match="shorter"):
        blend(np.ones((2, 1)), np.array([0, 1]), ("none", "none"), (1.0,))


@quick
@given(
    st.lists(st.tuples(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]), st.integers(0, 10**9)), unique_by=lambda p: p[1])
)
def test_the_one_order_is_score_descending_then_item_ascending(pairs: list[tuple[float, int]]) -> None:
    scores = np.array([score for score, _ in pairs], dtype=np.float32)
    items = np.array([item for _, item in pairs], dtype=np.int64)
    expected = sorted(range(len(pairs)), key=lambda place: (-pairs[place][0], pairs[place][1]))
    assert rank_order(scores, items).tolist() == expected


SCORED_ITEMS = st.lists(
    st.tuples(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]), st.integers(0, 50)), max_size=8, unique_by=lambda p: p[1]
)


@quick
@given(st.lists(SCORED_ITEMS, max_size=5), st.booleans())
def test_lists_are_ordered_one_by_one(lists: list[list[tuple[float, int]]], by_item: bool) -> None:
    if by_item:
        lists = [sorted(each, key=lambda pair: pair[1]) for each in lists]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in lists])]).astype(np.int64)
    scores = np.array([score for each in lists for score, _ in each], dtype=np.float32)
    items = np.array([item for each in lists for _, item in each], dtype=np.int64)
    expected = [
        place
        for number, each in enumerate(lists)
        for place in sorted(
            range(starts[number], starts[number] + len(each)), key=lambda place: (-scores[place], items[place])
        )
    ]
    assert list_order(scores, items, starts).tolist() == expected
