"""Ranking metrics: values as arithmetic, and scikit-learn's NDCG as the peer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from recsys_batch.rules.metrics import hit_rate, ndcg


def test_by_arithmetic() -> None:
    ranks = np.array([1, 3, 0, 11])
    assert hit_rate(ranks, 10) == 2 / 4
    assert hit_rate(ranks, 1) == 1 / 4
    assert hit_rate(ranks, 11) == 3 / 4
    # log2(1 + 1) = 1, log2(3 + 1) = 2.
    assert ndcg(ranks, 10) == pytest.approx((1 / 1 + 1 / 2) / 4)
    assert ndcg(ranks, 2) == pytest.approx(1 / 4)
    assert ndcg(ranks, 11) == pytest.approx((1 + 1 / 2 + 1 / np.log2(12)) / 4)


def test_no_case_and_no_hit_are_zero() -> None:
    assert hit_rate(np.zeros(0, dtype=np.int64), 10) == 0.0
    assert ndcg(np.zeros(0, dtype=np.int64), 10) == 0.0
    assert hit_rate(np.zeros(5, dtype=np.int64), 10) == 0.0
    assert ndcg(np.zeros(5, dtype=np.int64), 10) == 0.0


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 12))
def test_ndcg_equals_scikit_learns(ranks: list[int], k: int) -> None:
    # One row a case: twelve items scored 12, 11, ..., 1, and the target at its rank.
    scores = np.tile(np.arange(12.0, 0.0, -1.0), (len(ranks), 1))
    is_target = np.arange(1, 13) == np.array(ranks)[:, None]
    assert ndcg(np.array(ranks), k) == pytest.approx(ndcg_score(is_target, scores, k=k))
