"""Welch's test against scipy, from means and variances alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recsys_batch.rules.metrics.paired_tests import Interval
from recsys_batch.rules.metrics.unpaired_tests import Sample, welch

VALUES = st.lists(st.integers(-50, 50), min_size=2, max_size=30)


def sample(values: list[int]) -> Sample:
    return Sample(len(values), float(np.mean(values)), float(np.var(values, ddof=1)))


@given(ours=VALUES, theirs=VALUES, confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_interval_and_p_value_are_those_of_scipy(ours: list[int], theirs: list[int], confidence: float) -> None:
    interval, p_value = welch(sample(ours), sample(theirs), confidence=confidence)
    assert interval.mean == pytest.approx(np.mean(ours) - np.mean(theirs))
    if len(set(ours)) == len(set(theirs)) == 1:
        assert (interval.low, interval.high) == (interval.mean, interval.mean)
        assert p_value == float(ours[0] == theirs[0])
        return
    expected = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = expected.confidence_interval(confidence)
    assert (interval.low, interval.high, p_value) == pytest.approx((low, high, expected.pvalue), rel=1e-9, abs=1e-12)


def test_groups_of_one_are_refused() -> None:
    with pytest.raises(ValueError, match="groups of 1 and 5 users"):
        welch(Sample(1, 0.0, 0.0), Sample(5, 0.0, 1.0))
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, not 95"):
        welch(Sample(5, 0.0, 1.0), Sample(5, 0.0, 1.0), confidence=95)


def test_where_nothing_varies_the_difference_is_sure() -> None:
    assert welch(Sample(3, 1.0, 0.0), Sample(4, 0.5, 0.0)) == (Interval(0.5, 0.5, 0.5), 0.0)
