"""Ranking metrics: values as arithmetic, and the textbook definition over relevance lists."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.rules.metrics.ranking import hit_rate, ndcg


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


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.integers(1, 12))
def test_ndcg_is_discounted_gain_over_ideal_gain(ranks: list[int], k: int) -> None:
    def gain(relevance: list[int]) -> float:
        return sum(is_target / math.log2(place + 1) for place, is_target in enumerate(relevance[:k], 1))

    # A list of twelve items a case, with the target at its rank; rank 0 is a target outside the list.
    lists = [[int(place == rank) for place in range(1, 13)] for rank in ranks]
    ideal = gain([1] + [0] * 11)
    assert ndcg(np.array(ranks), k) == pytest.approx(sum(gain(relevance) / ideal for relevance in lists) / len(ranks))
    assert hit_rate(np.array(ranks), k) == pytest.approx(sum(any(r[:k]) for r in lists) / len(ranks))
