"""Is one group of users better off than another? Intervals and p-values of differences between independent groups."""

import math
from dataclasses import dataclass

from recsys_batch.rules.metrics.paired_tests import Interval


@dataclass(frozen=True)
class Sample:
    """What of a group's values a comparison needs."""

    size: int
    mean: float
    variance: float
    """With size - 1 in the denominator."""


@dataclass(frozen=True)
class GroupComparison:
    """One metric of two groups of users."""

    metric: str
    group: str
    baseline: str
    """Name of the group that it is compared with."""
    ours: Sample
    theirs: Sample
    difference: Interval
    """Mean of the group less that of the baseline, and where it may lie."""
    p_value: float
    """Of "both have the same mean", two-sided."""


def welch(ours: Sample, theirs: Sample, *, confidence: float = 0.95) -> tuple[Interval, float]:
    """Return the difference of the means with its interval, and the two-sided p-value of "both are alike".

    Welch's t-test (1947), whose groups may differ in size and variance, with Satterthwaite's degrees of freedom. Where
    neither group varies, the interval is the difference and the p-value 1 or 0. Raises ValueError where a group has
    fewer than two values, or `confidence` is not between 0 and 1.
    """
    if min(ours.size, theirs.size) < 2:
        raise ValueError(f"groups of {ours.size} and {theirs.size} users: each needs two or more")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    from scipy import stats  # takes most of a second, and a night compares nothing

    difference = ours.mean - theirs.mean
    parts = ours.variance / ours.size, theirs.variance / theirs.size
    error = math.sqrt(sum(parts))
    if not error:
        return Interval(difference, difference, difference), float(not difference)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (ours.size - 1) + parts[1] ** 2 / (theirs.size - 1))
    reach = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    p_value = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return Interval(difference, difference - reach, difference + reach), p_value
