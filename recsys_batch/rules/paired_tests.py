"""Is one system better than another on the same cases? Intervals and p-values of paired differences.

A case (a user, a query, a request) is drawn as a whole, so both systems meet the same easy and hard ones, and what
remains is the difference.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Differences = npt.NDArray[np.floating]
_CELLS = 4_000_000


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
    num_cases = differences_N.size
    rng = np.random.default_rng(seed)
    means = [
        differences_N[rng.integers(num_cases, size=(rows, num_cases))].mean(1) for rows in _rows(num_samples, num_cases)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(float(differences_N.mean()), float(low), float(high))


def paired_permutation(differences_N: Differences, *, num_samples: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p-value of "both systems are alike" by flipping the signs of differences at random.

    The sample itself counts as one of the permutations, so that the value is never 0 (Phipson and Smyth, 2010).
    Raises ValueError where there are fewer than two cases or one is not finite.
    """
    differences_N = _check(differences_N)
    rng = np.random.default_rng(seed)
    # A hair below, so that permutations which equal the sample but for rounding count as reaching it.
    reached = abs(differences_N.sum()) * (1 - 1e-12)
    num_reaching = 0
    for rows in _rows(num_samples, differences_N.size):
        signs = rng.integers(0, 2, size=(rows, differences_N.size), dtype=np.int8) * 2.0 - 1.0
        num_reaching += int((np.abs(signs @ differences_N) >= reached).sum())
    return (num_reaching + 1) / (num_samples + 1)


def _check(differences_N: Differences) -> npt.NDArray[np.float64]:
    checked_N: npt.NDArray[np.float64] = np.asarray(differences_N, dtype=np.float64)
    if checked_N.ndim != 1 or checked_N.size < 2:
        raise ValueError(f"a paired test needs a difference for each of two cases or more, not {checked_N.shape}")
    if not np.isfinite(checked_N).all():
        case = int(np.flatnonzero(~np.isfinite(checked_N))[0])
        raise ValueError(f"the difference of case {case} is {checked_N[case]}; leave out cases without a metric")
    return checked_N


def _rows(num_samples: int, num_cases: int) -> Iterator[int]:
    """Yield how many resamples to make at a time, so that memory stays bounded."""
    at_once = max(1, _CELLS // num_cases)
    for start in range(0, num_samples, at_once):
        yield min(at_once, num_samples - start)
