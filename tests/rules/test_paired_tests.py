"""Paired intervals and p-values against scipy's, against enumeration, and against what they promise."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.rules.metrics.paired_tests import (
    Interval,
    bootstrap_counts,
    effect_size,
    paired_bootstrap,
    paired_permutation,
    permute_counts,
)
from recsys_batch.rules.metrics.ranking import graded_ndcg


def test_the_bootstrap_is_scipys() -> None:
    rng = np.random.default_rng(1)
    first_N = rng.random(80)
    second_N = first_N + rng.normal(0.05, 0.2, 80)
    peer = scipy.stats.bootstrap(
        (second_N, first_N),
        lambda a, b, axis: (a - b).mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    ours = paired_bootstrap(second_N - first_N, num_samples=20_000, seed=3)
    assert ours.mean == pytest.approx((second_N - first_N).mean())
    # Two draws of 20,000 means agree to a few hundredths of the interval's width.
    assert ours.low == pytest.approx(peer.low, abs=0.04 * (peer.high - peer.low))
    assert ours.high == pytest.approx(peer.high, abs=0.04 * (peer.high - peer.low))


def test_the_permutation_test_is_enumeration() -> None:
    differences_N = np.array([0.3, 0.1, -0.05, 0.2, 0.15, -0.1, 0.25])
    sums = np.abs(np.array(list(itertools.product((-1, 1), repeat=7))) @ differences_N)
    exact = float((sums >= abs(differences_N.sum()) - 1e-12).mean())
    assert paired_permutation(differences_N, num_samples=50_000) == pytest.approx(exact, abs=0.01)


def test_the_permutation_test_is_near_the_t_test() -> None:
    differences_N = np.random.default_rng(4).normal(0.04, 0.2, 150)
    peer = scipy.stats.ttest_1samp(differences_N, 0.0).pvalue
    assert paired_permutation(differences_N) == pytest.approx(peer, abs=0.02)


def test_equal_systems_differ_by_nothing() -> None:
    interval = paired_bootstrap(np.zeros(10))
    assert interval == Interval(0.0, 0.0, 0.0)
    assert not interval.excludes_zero
    assert paired_permutation(np.zeros(10)) == 1.0


def test_a_clear_difference_is_seen() -> None:
    differences_N = np.full(40, 0.1) + np.random.default_rng(0).normal(0, 0.01, 40)
    assert paired_bootstrap(differences_N).excludes_zero
    assert paired_bootstrap(-differences_N).excludes_zero
    assert paired_permutation(differences_N, num_samples=999) == 1 / 1000


def test_the_seed_decides_and_blocks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    differences_N = np.random.default_rng(0).normal(size=30)
    assert paired_bootstrap(differences_N, seed=1) == paired_bootstrap(differences_N, seed=1)
    assert paired_bootstrap(differences_N, seed=1) != paired_bootstrap(differences_N, seed=2)
    expected = paired_bootstrap(differences_N, seed=1, num_samples=1000)
    monkeypatch.setattr("recsys_batch.rules.metrics.paired_tests._CELLS", 30 * 64)
    assert paired_bootstrap(differences_N, seed=1, num_samples=1000) == expected


def test_refusals() -> None:
    with pytest.raises(ValueError, match="two cases or more"):
        paired_bootstrap(np.array([1.0]))
    with pytest.raises(ValueError, match="case 1 is nan"):
        paired_permutation(np.array([1.0, np.nan, 2.0]))
    with pytest.raises(ValueError, match="confidence"):
        paired_bootstrap(np.array([1.0, 2.0]), confidence=1.0)


def test_graded_ndcg_by_hand() -> None:
    ranked = np.array([3.0, 0.0, 1.0])
    judged = np.array([0.0, 1.0, 3.0, 2.0])
    ideal = 7 / np.log2(2) + 3 / np.log2(3) + 1 / np.log2(4)
    assert graded_ndcg(ranked, judged, 10) == pytest.approx((7 + 1 / np.log2(4)) / ideal)
    linear = 3 + 2 / np.log2(3) + 1 / np.log2(4)
    assert graded_ndcg(ranked, judged, 10, "linear") == pytest.approx((3 + 1 / 2) / linear)
    assert graded_ndcg(ranked, judged, 1) == 1.0
    assert np.isnan(graded_ndcg(np.zeros(2), np.zeros(5), 10))
    assert graded_ndcg(np.array([]), judged, 10) == 0.0


@settings(max_examples=50, deadline=None)
@given(grades=st.lists(st.integers(0, 3), min_size=2, max_size=15), k=st.integers(1, 12), seed=st.integers(0, 99))
def test_graded_ndcg_is_scikit_learns(grades: list[int], k: int, seed: int) -> None:
    from sklearn.metrics import ndcg_score

    grades_N = np.array(grades, dtype=np.float64)
    scores_N = np.random.default_rng(seed).permutation(len(grades))
    ranked = grades_N[np.argsort(-scores_N)]
    if not grades_N.any():
        assert np.isnan(graded_ndcg(ranked, grades_N, k))
        return
    assert graded_ndcg(ranked, grades_N, k) == pytest.approx(ndcg_score([np.exp2(grades_N) - 1], [scores_N], k=k))
    assert graded_ndcg(ranked, grades_N, k, "linear") == pytest.approx(ndcg_score([grades_N], [scores_N], k=k))


def test_counts_of_values_are_the_cases_themselves() -> None:
    differences = np.repeat([-0.5, 0.0, 0.25, 1.0], [30, 100, 40, 20])
    values, counts = np.unique(differences, return_counts=True)
    cases, counted = paired_bootstrap(differences), bootstrap_counts(values, counts, num_samples=10_000)
    error = differences.std() / np.sqrt(differences.size)
    assert counted.mean == pytest.approx(cases.mean)
    assert (counted.low, counted.high) == pytest.approx((cases.low, cases.high), abs=0.1 * error)
    assert permute_counts(values, counts, num_samples=10_000) == pytest.approx(
        paired_permutation(differences), abs=0.01
    )
    assert effect_size(values, counts) == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert bootstrap_counts(values, counts, seed=1) == bootstrap_counts(values, counts, seed=1)


def test_counts_that_say_nothing() -> None:
    one, none = np.array([0.5]), np.array([0.0])
    assert effect_size(one, np.array([3])) == np.inf
    assert effect_size(none, np.array([3])) == 0
    assert permute_counts(none, np.array([3])) == 1
    with pytest.raises(ValueError, match="1 values of 1 cases"):
        bootstrap_counts(one, np.array([1]))
    with pytest.raises(ValueError, match="value nan: leave out"):
        permute_counts(np.array([np.nan]), np.array([3]))
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, not 95"):
        bootstrap_counts(one, np.array([3]), confidence=95)


def test_many_values_are_merged_without_moving_the_mean() -> None:
    rng = np.random.default_rng(9)
    values, counts = rng.normal(0.01, 1, 25_000), rng.integers(1, 3, 25_000)
    cases = np.repeat(values, counts)
    error = cases.std() / np.sqrt(cases.size)
    found = bootstrap_counts(values, counts, num_samples=1_000)
    assert found.mean == pytest.approx(cases.mean())
    normal = (cases.mean() - 1.96 * error, cases.mean() + 1.96 * error)
    assert (found.low, found.high) == pytest.approx(normal, abs=0.2 * error)
    p_value = scipy.stats.ttest_1samp(cases, 0).pvalue
    assert permute_counts(values, counts, num_samples=1_000) == pytest.approx(p_value, abs=0.05)
