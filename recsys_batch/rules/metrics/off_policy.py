"""What would another policy have earned? Estimates from logged actions whose chances were logged too.

A logger took action a with chance p, the target policy takes it with chance e. Weighted by e / p, what came of the
logged actions averages to what the target would have earned, provided the logger could take whatever the target takes.

- `ips`: mean of weight * reward (Horvitz and Thompson, 1952). Unbiased, and of high variance where weights are large.
- `snips`: the same divided by the mean weight (Swaminathan and Joachims, 2015). Hardly biased, stays within the range
  of the rewards, and does not change where a constant is added to all of them.
- `dm`: mean of what a model of the reward predicts for the target policy. As good as the model.
- `dr`: `dm`, corrected by the weighted errors of the predictions (Dudik et al., 2011). Unbiased like `ips`, and of less
  variance where the predictions are good. They must come from other rows than those that they correct.

What is drawn independently of each other is a unit (a user, a page). All four are ratios of sums over units, so means
and covariances of a few sums by unit are all that an estimate and its interval need: NumPy makes them here, and Spark
in `recsys_batch.spark.evaluation.off_policy`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from recsys_batch.rules.metrics.paired_tests import Interval

FloatArray = npt.NDArray[np.float64]
OffPolicyMethod = Literal["ips", "snips", "dm", "dr"]

# Sums by unit: of rows; of their exposure; of weight * exposure; of weight * reward; of the expected reward under the
# target; of that and weight * (reward - predicted).
SUMS = ("rows", "exposure", "weight", "earned", "expected", "corrected")
_PARTS: dict[str, tuple[str, str]] = {
    "ips": ("earned", "rows"),
    "snips": ("earned", "weight"),
    "dm": ("expected", "rows"),
    "dr": ("corrected", "rows"),
}
# With an effective sample below these, intervals were found too narrow: see docs/evaluation.md.
MIN_EFFECTIVE_UNITS = 100
MIN_EFFECTIVE_SHARE = 0.01
_CELLS = 4_000_000


@dataclass(frozen=True)
class LoggedActions:
    """N logged actions, one entry an action. Raises ValueError where arrays do not fit each other or hold odd values.

    A ranked list is one action a slot. For a list with item i at rank k, either of Li et al. (2018) can be used:

    - the item-position model: propensity is the chance that the logger put the item at this position, target is 1 where
      the list has it at the same rank, else 0;
    - the position-based model: propensity is the chance that the item was looked at under the logger, the sum over
      positions of chance * examination; target is the examination of its rank in the list, 0 where it is not there;
      exposure is the examination of the position where it was logged.
    """

    rewards_N: FloatArray
    propensities_N: FloatArray
    """Above 0, at most 1."""
    targets_N: FloatArray
    """Chance that the target policy does the same; 0 to 1."""
    predicted_N: FloatArray | None = None
    """Predicted reward of the logged action; `dm` and `dr` need it."""
    expected_N: FloatArray | None = None
    """Expected predicted reward under the target policy."""
    units_N: npt.NDArray[np.generic] | None = None
    """The unit of every action, anything that can be sorted; each action is one without it."""
    exposures_N: FloatArray | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a log."""
        size = len(self.rewards_N)
        if (self.predicted_N is None) != (self.expected_N is None):
            raise ValueError("predicted and expected rewards must be given together, or neither")
        if self.units_N is not None and len(self.units_N) != size:
            raise ValueError(_unequal("unit", len(self.units_N), size))
        _check("reward", self.rewards_N, size)
        _check("propensity", self.propensities_N, size, "above 0 and at most 1", lowest=0.0, highest=1.0, is_open=True)
        _check("target", self.targets_N, size, "from 0 to 1", lowest=0.0, highest=1.0)
        _check("predicted", self.predicted_N, size)
        _check("expected", self.expected_N, size)
        _check("exposure", self.exposures_N, size, "above 0 and at most 1", lowest=0.0, highest=1.0, is_open=True)


@dataclass(frozen=True)
class UnitMoments:
    """Means over units of the sums named in SUMS, and their covariances (divided by units - 1)."""

    num_units: int
    means_S: FloatArray
    covariances_SS: FloatArray
    clipped_share: float
    """Share of the rows whose weight was clipped."""

    def ratio(self, top: str, bottom: str) -> tuple[float, float]:
        """Return the ratio of two sums and its standard error by the delta method; NaN where `bottom` is 0."""
        t, b = SUMS.index(top), SUMS.index(bottom)
        if not self.means_S[b]:
            return float("nan"), float("nan")
        value = self.means_S[t] / self.means_S[b]
        errors_SS = self.covariances_SS
        variance = errors_SS[t, t] - 2 * value * errors_SS[t, b] + value**2 * errors_SS[b, b]
        return float(value), float(np.sqrt(max(variance, 0.0) / self.num_units) / abs(self.means_S[b]))

    @property
    def effective_units(self) -> float:
        """Kish's effective sample size, (sum of weights)^2 / sum of squared weights, over units; 0 without a weight."""
        place = SUMS.index("weight")
        mean, variance = self.means_S[place], self.covariances_SS[place, place]
        return float(self.num_units * mean**2 / (mean**2 + variance * (1 - 1 / self.num_units))) if mean else 0.0


@dataclass(frozen=True)
class ValueEstimate:
    """What a policy would have earned a logged row (an impression, a slot)."""

    method: OffPolicyMethod
    interval: Interval
    num_units: int
    effective_units: float
    """How many equally weighted units would say as much (Kish); `num_units` for `dm`, which has no weights."""
    mean_weight: float
    """1 up to chance where all that the target shows could be logged; less where weights are clipped."""
    clipped_share: float
    warnings: tuple[str, ...]
    """Why not to trust the estimate; empty where nothing speaks against it."""

    @property
    def value(self) -> float:
        """The estimate itself."""
        return self.interval.mean


def estimate_value(
    log: LoggedActions,
    method: OffPolicyMethod = "snips",
    *,
    max_weight: float | None = None,
    interval: Literal["normal", "bootstrap"] = "normal",
    confidence: float = 0.95,
    num_samples: int = 2_000,
    seed: int = 0,
) -> ValueEstimate:
    """Return what the target policy would have earned a row, with an interval over units.

    `max_weight` clips the weights (Ionides, 2008), which trades variance for a bias towards 0. The interval is normal,
    by the delta method, from moments that Spark finds at any size; `bootstrap` is the percentile interval over
    resampled units, for a second opinion where rewards or weights are skewed. Raises ValueError where there are fewer
    than two units, or `dm` and `dr` lack predictions.
    """
    if method in ("dm", "dr") and log.predicted_N is None:
        raise ValueError(f"{method} needs predicted and expected rewards")
    sums_US, clipped_share = sum_units(log, max_weight)
    if len(sums_US) < 2:
        raise ValueError(f"{len(sums_US)} units: an interval needs two or more")
    moments = UnitMoments(len(sums_US), sums_US.mean(axis=0), np.cov(sums_US, rowvar=False), clipped_share)
    found = estimate_from_moments(moments, method, confidence=confidence)
    if interval == "normal" or np.isnan(found.value):
        return found
    resampled = _bootstrap(sums_US, method, confidence, num_samples, seed)
    return ValueEstimate(**{**vars(found), "interval": Interval(found.value, *resampled)})


def estimate_from_moments(moments: UnitMoments, method: OffPolicyMethod, *, confidence: float = 0.95) -> ValueEstimate:
    """Return the estimate with its normal interval, and what speaks against it."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    value, error = moments.ratio(*_PARTS[method])
    if method == "snips":
        # A weight counts with the exposure of its row; a row's mean exposure is that of the page, whatever it shows.
        exposure = moments.ratio("exposure", "rows")[0]
        value, error = value * exposure, error * exposure
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    weight, weight_error = moments.ratio("weight", "exposure")
    is_model = method == "dm"
    return ValueEstimate(
        method,
        Interval(value, value - reach, value + reach),
        moments.num_units,
        float(moments.num_units) if is_model else moments.effective_units,
        weight,
        moments.clipped_share,
        ("the interval leaves out the error of the predictions",)
        if is_model
        else tuple(_doubts(moments, weight, weight_error)),
    )


def sum_units(log: LoggedActions, max_weight: float | None = None) -> tuple[FloatArray, float]:
    """Return the sums by unit (units x SUMS) and the share of rows whose weight was clipped."""
    if max_weight is not None and not max_weight > 0:
        raise ValueError(f"max_weight must be above 0, not {max_weight}")
    ones_N = np.ones(len(log.rewards_N))
    full_N = log.targets_N / log.propensities_N
    weights_N = full_N if max_weight is None else np.minimum(full_N, max_weight)
    exposures_N = ones_N if log.exposures_N is None else log.exposures_N
    expected_N = 0 * ones_N if log.expected_N is None else log.expected_N
    errors_N = log.rewards_N - (0 * ones_N if log.predicted_N is None else log.predicted_N)
    columns: Sequence[FloatArray] = (
        ones_N,
        exposures_N,
        weights_N * exposures_N,
        weights_N * log.rewards_N,
        expected_N,
        expected_N + weights_N * errors_N,
    )
    clipped_share = float((weights_N < full_N).mean()) if len(ones_N) else 0.0
    if log.units_N is None:
        return np.stack(columns, axis=1), clipped_share
    _, unit_N = np.unique(log.units_N, return_inverse=True)
    return np.stack([np.bincount(unit_N, column) for column in columns], axis=1), clipped_share


def _doubts(moments: UnitMoments, weight: float, weight_error: float) -> list[str]:
    effective, size = moments.effective_units, moments.num_units
    found = []
    if effective < MIN_EFFECTIVE_UNITS or effective < MIN_EFFECTIVE_SHARE * size:
        found.append(
            f"few units carry the estimate: an effective sample of {effective:.1f} of {size} units (at least "
            f"{MIN_EFFECTIVE_UNITS}, and {MIN_EFFECTIVE_SHARE:.0%} of them, are wanted); the interval may be far too "
            "narrow. Log more, clip the weights, or evaluate a policy closer to the logger"
        )
    if not moments.clipped_share and not abs(weight - 1) <= max(3 * weight_error, 1e-9):
        found.append(
            f"weights average {weight:.3f}, where 1 is expected: part of what the target shows could not be logged, "
            "its lists are shorter than the pages, or the propensities are wrong"
        )
    return found


def _bootstrap(
    sums_US: FloatArray, method: OffPolicyMethod, confidence: float, num_samples: int, seed: int
) -> tuple[float, float]:
    rng, size = np.random.default_rng(seed), len(sums_US)
    top, bottom = (SUMS.index(part) for part in _PARTS[method])
    exposure = sums_US[:, 1].sum() / sums_US[:, 0].sum() if method == "snips" else 1.0
    at_once = max(1, _CELLS // size)
    values = []
    for done in range(0, num_samples, at_once):
        drawn_XU = rng.integers(0, size, (min(at_once, num_samples - done), size))
        # A resample without any weight says nothing.
        with np.errstate(invalid="ignore"):
            values.append(sums_US[drawn_XU, top].sum(axis=1) / sums_US[drawn_XU, bottom].sum(axis=1))
    low, high = np.nanquantile(np.concatenate(values) * exposure, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _check(
    name: str,
    values_N: FloatArray | None,
    size: int,
    wanted: str = "finite",
    lowest: float = -np.inf,
    highest: float = np.inf,
    is_open: bool = False,
) -> None:
    if values_N is None:
        return
    if np.shape(values_N) != (size,):
        raise ValueError(_unequal(name, len(values_N), size))
    wrong_N = ~np.isfinite(values_N) | (values_N < lowest) | (values_N > highest) | (is_open & (values_N == lowest))
    if wrong_N.any():
        row = int(np.flatnonzero(wrong_N)[0])
        raise ValueError(f"{name} of row {row} is {values_N[row]}: must be {wanted}")


def _unequal(name: str, length: int, size: int) -> str:
    first = min(length, size)
    lacking = name if length < size else "reward"
    return f"{length} values of {name} for {size} rewards: row {first} has no {lacking}"
