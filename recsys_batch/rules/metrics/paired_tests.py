"""Is one system better than another on the same cases? Intervals and p-values of paired differences.

A case (a user, a query, a request) is drawn as a whole, so both systems meet the same easy and hard ones, and what
remains is the difference.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Differences = npt.NDArray[np.floating]
_CELLS = 4_000_000
_MAX_VALUES = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean and where it may lie; above 0 as a whole: the first system is better."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside, on either side."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class RunComparison:
    """One metric of two runs on the same keys."""

    metric: str
    ours: float
    baseline: float
    difference: Interval
    """Mean of ours less baseline by key, and where it may lie."""
    effect_size: float
    """Cohen's d_z: the mean difference in standard deviations of the differences."""
    p_value: float
    """Of "both runs are alike", two-sided, by flipping signs of differences."""
    num_keys: int


def paired_bootstrap(
    differences_N: Differences, *, confidence: float = 0.95, num_samples: int = 10_000, seed: int = 0
) -> Interval:
    """Return the percentile interval of the mean difference over resampled cases (Efron and Tibshirani, 1993).

    `differences_N` is system minus baseline, a number a case. Raises ValueError where there are fewer than two cases,
    one is not finite, or `confidence` is not between 0 and 1.
    """
    differences_N = _check(differences_N)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    from scipy import stats  # takes most of a second, and a night compares nothing

    found = stats.bootstrap(
        (differences_N,),
        np.mean,
        n_resamples=num_samples,
        batch=_at_once(differences_N),
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(differences_N.mean()), float(found.low), float(found.high))


def paired_permutation(differences_N: Differences, *, num_samples: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p-value of "both systems are alike" by flipping the signs of differences at random.

    Few cases, with no more than `num_samples` ways to flip them, are enumerated. Else the sample itself counts as one
    of the permutations, so that the value is never 0 (Phipson and Smyth, 2010).
    Raises ValueError where there are fewer than two cases or one is not finite.
    """
    differences_N = _check(differences_N)
    from scipy import stats

    found = stats.permutation_test(
        (differences_N,),
        _absolute_mean,
        alternative="greater",
        permutation_type="samples",
        vectorized=True,
        n_resamples=num_samples,
        batch=_at_once(differences_N),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _absolute_mean(differences_XN: npt.NDArray[np.float64], axis: int = -1) -> npt.NDArray[np.float64]:
    means_X: npt.NDArray[np.float64] = np.abs(differences_XN.mean(axis=axis))
    return means_X


def _check(differences_N: Differences) -> npt.NDArray[np.float64]:
    checked_N: npt.NDArray[np.float64] = np.asarray(differences_N, dtype=np.float64)
    if checked_N.ndim != 1 or checked_N.size < 2:
        raise ValueError(f"a paired test needs a difference for each of two cases or more, not {checked_N.shape}")
    if not np.isfinite(checked_N).all():
        case = int(np.flatnonzero(~np.isfinite(checked_N))[0])
        raise ValueError(f"the difference of case {case} is {checked_N[case]}; leave out cases without a metric")
    return checked_N


def _at_once(differences_N: Differences) -> int:
    """Return how many resamples to make at a time, so that memory stays bounded."""
    return max(1, _CELLS // differences_N.size)


def bootstrap_counts(
    values_D: Differences,
    counts_D: npt.NDArray[np.int64],
    *,
    confidence: float = 0.95,
    num_samples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Return the mean and its percentile interval over resampled cases, `counts_D` of which have the value `values_D`.

    The same bootstrap as `paired_bootstrap`'s: drawing N of N cases with replacement draws the counts of their distinct
    values from a multinomial. A million cases of a metric with a few values cost no more than a hundred. More than
    10,000 values are put into that many bins of equal width, each taken as the mean of its cases: the mean stays as it
    is, and the deviation changes by less than a ten-thousandth of the range.
    Raises ValueError where there are fewer than two cases, a value is not finite, or `confidence` is not between 0 and
    1.
    """
    values_D = _check_counts(values_D, counts_D)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    values_D, counts_D = _merge_close(values_D, counts_D)
    rng, num_cases = np.random.default_rng(seed), int(counts_D.sum())
    chances_D = counts_D / num_cases
    means_S = np.concatenate(
        [rng.multinomial(num_cases, chances_D, size) @ values_D / num_cases for size in _batches(values_D, num_samples)]
    )
    low, high = np.quantile(means_S, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(counts_D @ values_D / num_cases), float(low), float(high))


def permute_counts(
    differences_D: Differences, counts_D: npt.NDArray[np.int64], *, num_samples: int = 2_000, seed: int = 0
) -> float:
    """Return the two-sided p-value of "both systems are alike" where `counts_D` cases have each difference.

    Signs are flipped at random as in `paired_permutation`, and the sample itself counts as one of the permutations: of
    the cases with a difference, a binomial number keeps its sign. Raises ValueError, and
    merges many values, as `bootstrap_counts` does.
    """
    differences_D, counts_D = _merge_close(_check_counts(differences_D, counts_D), counts_D)
    rng = np.random.default_rng(seed)
    observed = abs(counts_D @ differences_D)
    as_extreme = 0
    for size in _batches(differences_D, num_samples):
        kept_XD = rng.binomial(counts_D, 0.5, (size, counts_D.size))
        sums_X = np.abs((2 * kept_XD - counts_D) @ differences_D)
        # Equal sums in another order differ in the last bits.
        as_extreme += int((sums_X >= observed * (1 - 1e-9)).sum())
    return (as_extreme + 1) / (num_samples + 1)


def effect_size(differences_D: Differences, counts_D: npt.NDArray[np.int64]) -> float:
    """Return Cohen's d_z, the mean difference in standard deviations of the differences (Cohen, 1988).

    `counts_D` cases have each difference. 0 where all differences are 0, infinite where they are equal and not 0.
    Raises ValueError as `bootstrap_counts` does.
    """
    differences_D = _check_counts(differences_D, counts_D)
    num_cases = counts_D.sum()
    mean = counts_D @ differences_D / num_cases
    deviation = np.sqrt(counts_D @ (differences_D - mean) ** 2 / (num_cases - 1))
    if not deviation:
        return float(np.copysign(np.inf, mean)) if mean else 0.0
    return float(mean / deviation)


def _check_counts(values_D: Differences, counts_D: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    checked_D: npt.NDArray[np.float64] = np.asarray(values_D, dtype=np.float64)
    if checked_D.shape != counts_D.shape or counts_D.sum() < 2:
        raise ValueError(f"{checked_D.size} values of {int(counts_D.sum())} cases: needs a value for two cases or more")
    if not np.isfinite(checked_D).all():
        raise ValueError(f"value {checked_D[~np.isfinite(checked_D)][0]}: leave out cases without a metric")
    return checked_D


def _merge_close(
    values_D: npt.NDArray[np.float64], counts_D: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    if values_D.size <= _MAX_VALUES:
        return values_D, counts_D
    low, high = values_D.min(), values_D.max()
    bin_D = np.minimum((values_D - low) / (high - low) * _MAX_VALUES, _MAX_VALUES - 1).astype(np.int64)
    counts_B, sums_B = np.bincount(bin_D, counts_D), np.bincount(bin_D, counts_D * values_D)
    kept_B = counts_B > 0
    return sums_B[kept_B] / counts_B[kept_B], counts_B[kept_B].astype(np.int64)


def _batches(values_D: Differences, num_samples: int) -> list[int]:
    """Return how many resamples to draw at a time, so that memory stays bounded."""
    size = _at_once(values_D)
    return [min(size, num_samples - done) for done in range(0, num_samples, size)]
