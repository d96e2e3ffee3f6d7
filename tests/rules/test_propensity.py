"""The position curve: recovered where it is planted, and harmless where nothing can be known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.rules.metrics.propensity import (
    GroupCount,
    PairCount,
    PositionCurve,
    fit_position_curve,
    harvest_pairs,
)

PLANTED = np.array([1.0, 0.7, 0.5, 0.4, 0.3])


def simulate(num_groups: int, showings: int, seed: int) -> list[GroupCount]:
    """Groups of hidden appeal, ranked by appeal plus noise: good ones stand first more often."""
    rng = np.random.default_rng(seed)
    appeal = rng.normal(size=num_groups)
    counts: dict[tuple[int, int], list[int]] = {}
    for _ in range(showings):
        page = rng.permutation(num_groups).reshape(-1, len(PLANTED))
        order = np.argsort(-(appeal[page] + rng.gumbel(size=page.shape)), axis=1)
        shown = np.take_along_axis(page, order, axis=1)
        clicked = rng.random(shown.shape) < PLANTED * (1 / (1 + np.exp(-appeal[shown])))
        for position in range(len(PLANTED)):
            for group, click in zip(shown[:, position], clicked[:, position], strict=True):
                cell = counts.setdefault((int(group), position + 1), [0, 0])
                cell[0] += 1
                cell[1] += int(click)
    return [GroupCount(str(group), position, n, c) for (group, position), (n, c) in counts.items()]


def test_planted_curve_is_recovered_where_the_click_rate_is_confounded():
    curve = fit_position_curve(harvest_pairs(simulate(num_groups=20_000, showings=4, seed=1)))
    fitted, naive = np.array(curve.examination), np.array(curve.click_rate)
    assert curve.positions == (1, 2, 3, 4, 5)
    assert np.abs(fitted - PLANTED).max() < 0.03
    assert np.abs(naive - PLANTED).max() > 0.1  # what is mended here


def test_two_positions_have_the_ratio_of_their_weighted_clicks():
    # One group shown 10 and 30 times: weights 30/40 and 10/40, so 600 * 3/4 = 450 clicks against 900 * 1/4 = 225.
    pairs = harvest_pairs([GroupCount("g", 1, 1000, 600), GroupCount("g", 2, 3000, 900), GroupCount("h", 2, 5, 5)])
    assert pairs == [
        PairCount(1, 1, 1000, 600),
        PairCount(1, 2, 750, 450),
        PairCount(2, 1, 750, 225),
        PairCount(2, 2, 3005, 905),
    ]
    curve = fit_position_curve(pairs)
    assert curve.examination[1] == pytest.approx((225 + 2) / (450 + 2), abs=1e-6)
    assert curve.num_impressions == (1000, 3005)
    assert curve.click_rate == (1.0, pytest.approx(905 / 3005 / 0.6))


def test_a_position_without_comparisons_takes_its_neighbors_value_and_an_unseen_one_the_value_before_it():
    pairs = [PairCount(1, 2, 400, 200), PairCount(2, 1, 400, 100), PairCount(1, 1, 500, 250), PairCount(2, 2, 500, 125)]
    curve = fit_position_curve([*pairs, PairCount(9, 9, 7, 0)])
    half = (100 + 2) / (200 + 2)
    assert curve.examination == pytest.approx((1.0, half, half), abs=1e-6)
    assert [curve.examination_at(p) for p in (0, 1, 5, 9, 99)] == pytest.approx([1.0, 1.0, half, half, half], abs=1e-6)


def test_nothing_known_means_no_correction():
    assert fit_position_curve([]).examination_at(3) == 1.0
    assert fit_position_curve([PairCount(4, 4, 100, 20)]).examination == (1.0,)
    no_clicks = harvest_pairs([GroupCount("g", 1, 9, 0), GroupCount("g", 2, 9, 0)])
    assert fit_position_curve(no_clicks).examination == (1.0, 1.0)
    never_moved = harvest_pairs([GroupCount("g", 1, 9, 5), GroupCount("h", 2, 9, 1)])
    assert fit_position_curve(never_moved).examination == (1.0, 1.0)


def test_impossible_counts_and_curves_are_refused():
    with pytest.raises(ValueError, match="between 0 and the impressions"):
        fit_position_curve([PairCount(1, 2, 3, 4)])
    with pytest.raises(ValueError, match="ascend"):
        PositionCurve((2, 1), (1.0, 1.0), (1, 1), (1.0, 1.0), (0.0, 0.0))
    with pytest.raises(ValueError, match="above 0"):
        PositionCurve((1,), (0.0,), (1,), (1.0,), (0.0,))


cells = st.builds(
    lambda group, position, impressions, share: GroupCount(
        str(group), position, impressions, math.floor(share * impressions)
    ),
    st.integers(0, 5),
    st.integers(-2, 60),
    st.integers(1, 10**6),
    st.sampled_from([0.0, 0.001, 0.5, 1.0]),
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(cells, max_size=40, unique_by=lambda c: (c.group, c.position)), st.randoms(use_true_random=False))
def test_any_counts_give_a_finite_curve_that_does_not_depend_on_their_order(counts, random):
    pairs = harvest_pairs(counts)
    curve = fit_position_curve(pairs)
    assert all(math.isfinite(p) and p > 0 for p in curve.examination)
    assert not curve.positions or curve.examination[0] == 1.0
    random.shuffle(pairs)
    assert fit_position_curve(pairs).examination == pytest.approx(curve.examination, rel=1e-4, abs=2e-6)
