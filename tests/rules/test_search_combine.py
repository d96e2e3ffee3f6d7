"""Evidence joined into one score, by arithmetic."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from recsys_batch.contracts.config.search import SearchWeights
from recsys_batch.rules.search.combine import Evidence, between_ends, combine, share_of_best, trust_of

WEIGHTS = SearchWeights(words=1.0, meaning=0.5, acts=0.4, personal=0.2, category=0.1, popularity=0.02)


def evidence(**kinds: list[float]) -> Evidence:
    names = ("words", "meaning", "acts", "likeness", "together", "popularity", "category")
    size = len(next(iter(kinds.values())))
    return Evidence(**{name: np.array(kinds.get(name, [0.0] * size), dtype=np.float64) for name in names})


def join(kinds: Evidence, trust: float = 1.0, known: float = 1.0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Join the evidence of one query."""
    starts = np.array([0, kinds.words.size])
    return combine(kinds, starts, WEIGHTS, np.array([trust]), np.array([known]))


def test_each_kind_is_weighed_between_0_and_1() -> None:
    scores, parts = join(
        evidence(words=[4.0, 2.0, 0.0], meaning=[0.2, 0.8, 0.5], acts=[0.0, 3.0, 6.0], category=[0.5, 0.5, 0.0])
    )
    assert_allclose(parts["words"], [1.0, 0.5, 0.0])
    assert_allclose(parts["meaning"], [0.0, 0.5, 0.25])
    assert_allclose(parts["acts"], [0.0, 0.2, 0.4])
    assert_allclose(scores, [1.0 + 0.05, 0.5 + 0.5 + 0.2 + 0.05, 0.25 + 0.4])


def test_the_history_counts_by_likeness_and_by_what_goes_together() -> None:
    _, parts = join(evidence(likeness=[0.1, 0.9, 0.5], together=[0.0, 0.0, 2.0]))
    assert_allclose(parts["personal"], [0.0, 0.2 * 0.5, 0.2 * (0.5 + 1.0) / 2])


def test_without_trust_the_order_is_that_of_words() -> None:
    scores, _ = join(evidence(words=[1.0, 3.0, 2.0], meaning=[0.9, 0.1, 0.5]), trust=0.0)
    assert np.argsort(-scores).tolist() == [1, 2, 0]


def test_words_of_which_little_is_known_count_little() -> None:
    kinds = evidence(words=[1.0, 0.0], meaning=[0.0, 1.0])
    assert join(kinds)[0].tolist() == [1.0, 0.5]
    assert join(kinds, known=0.25)[0].tolist() == [0.25, 0.5]


def test_no_candidate_and_equal_evidence_are_no_trouble() -> None:
    assert join(evidence(words=[]))[0].size == 0
    assert join(evidence(words=[0.0, 0.0], meaning=[0.3, 0.3]))[0].tolist() == [0.0, 0.0]


@given(st.lists(st.floats(-10, 10), max_size=20))
def test_shares_lie_between_0_and_1(values: list[float]) -> None:
    for scale in (share_of_best, between_ends):
        share = scale(np.array(values, dtype=np.float64), np.array([0, len(values)]))
        assert ((share >= 0) & (share <= 1)).all()


@pytest.mark.parametrize(
    ("found", "others", "trust"),
    [
        ([0.9, 0.8], [0.1, 0.2, 0.3], 1.0),
        # Of 6 pairs 4 are right, 1 is a tie: the area is 4.5 / 6.
        ([0.3, 0.2], [0.1, 0.2, 0.25], 2 * (3 + 1.5) / 6 - 1),
        ([0.1], [0.5, 0.6], 0.0),
        ([], [0.5], 1.0),
    ],
)
def test_trust_is_how_often_what_words_find_is_nearer_than_anything(
    found: list[float], others: list[float], trust: float
) -> None:
    assert trust_of(np.array(found), np.array(others)) == pytest.approx(trust)


def test_queries_of_a_block_know_nothing_of_each_other() -> None:
    rng = np.random.default_rng(5)
    sizes = [3, 0, 1, 7]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    names = ("words", "meaning", "acts", "likeness", "together", "popularity", "category")
    kinds = Evidence(**{name: np.round(rng.standard_normal(starts[-1]), 1) for name in names})
    trust, known = rng.random(4), rng.random(4)
    whole, _ = combine(kinds, starts, WEIGHTS, trust, known)
    for query, (start, stop) in enumerate(pairwise(starts)):
        alone = Evidence(**{name: getattr(kinds, name)[start:stop] for name in names})
        assert_allclose(whole[start:stop], join(alone, trust[query], known[query])[0])
