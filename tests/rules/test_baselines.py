"""Baselines against arithmetic and slower ways to the same numbers."""

from math import exp, log2, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_batch.rules.baselines.lists import binary_ndcg, top_lists
from recsys_batch.rules.baselines.log import Log
from recsys_batch.rules.baselines.scorers import ease, factors, item_knn, own_recency, popular

NOTHING = float("-inf")


def log_of(acts, num_keys=4, num_items=5):
    """A log of (key, item, age)."""
    keys, items, ages = (np.array(column) for column in zip(*acts, strict=True))
    return Log(keys.astype(np.int64), items.astype(np.int64), ages.astype(np.float64), num_keys, num_items)


ACTS = [(0, 0, 9), (0, 1, 3), (0, 1, 1), (1, 1, 2), (1, 2, 8), (2, 1, 20), (2, 2, 0.5), (3, 3, 40)]


def random_log(seed, num_keys=12, num_items=7):
    draw = np.random.default_rng(seed)
    keys, items = np.nonzero(draw.random((num_keys, num_items)) < 0.4)
    return Log(keys, items, draw.random(len(keys)) * 50, num_keys, num_items)


def test_popular_items_are_those_of_most_keys_lately():
    scores = popular(log_of(ACTS), days=10)(log_of(ACTS), np.array([0, 3]))
    # Item 1: keys 0 (twice) and 1; item 2: keys 1 and 2.
    assert scores.tolist() == [[1, 2, 2, NOTHING, NOTHING]] * 2


def test_own_items_go_by_decayed_acts_and_popular_ones_stand_behind_them():
    scores = own_recency(log_of(ACTS), decay_days=5, popular_days=10)(log_of(ACTS), np.array([0, 3]))
    assert scores[0].tolist() == pytest.approx(
        [1 + exp(-9 / 5), 1 + exp(-3 / 5) + exp(-1 / 5), 2 / 3, NOTHING, NOTHING]
    )
    assert scores[1].tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1 + exp(-40 / 5), NOTHING])


def test_of_one_basket_the_more_popular_item_comes_first():
    known = log_of([(0, 0, 5), (0, 1, 5), (0, 2, 5.001), (1, 1, 2), (1, 2, 2), (2, 2, 1)])
    scores = own_recency(known, decay_days=60)(known, np.array([0]))
    assert np.argsort(-scores[0])[:3].tolist() == [1, 0, 2]


def test_what_decayed_to_nothing_is_still_before_what_others_have():
    scores = own_recency(log_of([(0, 0, 1e6), (1, 1, 0)]), decay_days=1)(log_of([(0, 0, 1e6)]), np.array([0]))
    assert scores[0, 0] > scores[0, 1]


def test_item_knn_sums_shrunk_cosines_of_the_nearest():
    scorer = item_knn(log_of(ACTS), neighbors=1, shrinkage=2)
    scores = scorer(log_of([(0, 1, 0), (0, 2, 0)]), np.array([0]))
    # Of item 1 the nearest is 2 (both: keys 1 and 2), not 0 (key 0 alone); of 2 it is 1.
    both = 2 / (sqrt(3 * 2) + 2)
    assert scores[0].tolist() == pytest.approx([NOTHING, both, both, NOTHING, NOTHING], rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_item_knn_is_the_cosine_of_columns(seed):
    known = random_log(seed)
    matrix = known.matrix.toarray()
    cosines = np.zeros((7, 7))
    for i in range(7):
        for j in range(7):
            if i != j and matrix[:, i].any() and matrix[:, j].any():
                norms = np.linalg.norm(matrix[:, i]) * np.linalg.norm(matrix[:, j])
                cosines[i, j] = matrix[:, i] @ matrix[:, j] / norms
    scores = item_knn(known, neighbors=7, shrinkage=0)(known, np.arange(12))
    expected = matrix @ cosines
    assert np.where(scores == NOTHING, 0, scores) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_ease_is_ridge_regression_of_each_item_on_the_others(seed):
    known = random_log(seed)
    matrix, l2 = known.matrix.toarray(), 3.0
    expected = np.zeros_like(matrix)
    for item in range(7):
        others = [i for i in range(7) if i != item]
        left = matrix[:, others]
        weights = np.linalg.solve(left.T @ left + l2 * np.eye(6), left.T @ matrix[:, item])
        expected[:, item] = left @ weights
    assert ease(known, l2)(known, np.arange(12)) == pytest.approx(expected, abs=1e-9)


def test_key_factors_are_the_weighted_least_squares_solution():
    known, alpha, l2 = random_log(5), 4.0, 0.3
    items = np.random.default_rng(1).normal(size=(7, 3))
    scores = factors(items, alpha, l2)(known, np.arange(12))
    for key, liked in enumerate(known.matrix.toarray() > 0):
        # Rows: every item with the root of its confidence, then the penalty.
        weights = np.sqrt(np.where(liked, 1 + alpha, 1.0))
        rows = np.vstack([items * weights[:, None], np.sqrt(l2 * liked.sum()) * np.eye(3)])
        solution = np.linalg.lstsq(rows, np.concatenate([liked * weights, np.zeros(3)]), rcond=None)[0]
        assert scores[key] == pytest.approx(items @ solution if liked.any() else np.zeros(7), abs=1e-9)


def test_a_log_can_be_cut_at_an_earlier_day():
    cut = log_of(ACTS).until(3)
    assert sorted(zip(cut.keys_E, cut.items_E, cut.ages_E, strict=True)) == [
        *((0, 0, 6), (0, 1, 0), (1, 2, 5), (2, 1, 17), (3, 3, 37)),
    ]
    later = log_of(ACTS).since(3)
    assert sorted(zip(later.keys_E, later.items_E, strict=True)) == [(0, 1), (1, 1), (2, 2)]


def test_the_newest_act_of_each_key_is_left_out_where_it_has_others():
    rest, newest = log_of(ACTS).newest_left_out()
    assert sorted(zip(newest.keys_E, newest.items_E, newest.ages_E, strict=True)) == [(0, 1, 1), (1, 1, 2), (2, 2, 0.5)]
    assert len(rest.keys_E) == len(ACTS) - 3
    assert 3 in rest.keys_E


@pytest.mark.parametrize("acts", [[(0, 5, 1)], [(4, 0, 1)], [(0, -1, 1)], [(0, 0, -0.1)], [(0, 0, float("nan"))]])
def test_what_is_outside_is_refused(acts):
    with pytest.raises(ValueError, match=r"within|age"):
        log_of(acts)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_top_lists_are_the_sorted_scores(seed, length):
    draw = np.random.default_rng(seed)
    # Few distinct values, so that there are ties at every place.
    scores = draw.integers(0, 4, (4, 7)).astype(float)
    scores[draw.random((4, 7)) < 0.2] = NOTHING
    eligible, masked = draw.random(7) < 0.8, sparse.csr_array((draw.random((4, 7)) < 0.2).astype(float))
    keys = np.array([2, 0, 3])
    lists = top_lists(lambda _, keys_B: scores[keys_B], log_of(ACTS, 4, 7), keys, eligible, length, masked)
    for key, found in zip(keys, lists, strict=True):
        allowed = [i for i in range(7) if eligible[i] and not masked[key, i] and scores[key, i] > NOTHING]
        best = sorted(allowed, key=lambda i, row=scores[key]: (-row[i], i))[:length]
        assert found.tolist() == best + [-1] * (length - len(best))


def test_binary_ndcg_is_arithmetic():
    lists = np.array([[0, 1, 2], [3, -1, -1], [4, 3, 2]])
    targets = sparse.csr_array(np.array([[0, 1, 0, 0, 1], [0, 0, 0, 1, 0], [1, 1, 1, 1, 0]], dtype=float))
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    expected = [(1 / log2(3)) / (1 + 1 / log2(3)), 1.0, (1 / log2(3) + 1 / log2(4)) / ideal]
    assert binary_ndcg(lists, targets).tolist() == pytest.approx(expected)
