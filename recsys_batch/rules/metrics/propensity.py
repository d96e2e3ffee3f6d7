"""Position bias: how likely a shopper looks at a place of a list at all, told apart from how good the items there are.

The position-based model (Craswell et al., 2008; Wang et al., 2018, "Position Bias Estimation for Unbiased Learning to
Rank in Personal Search") says P(click) = examination(position) * relevance. A ranking puts good items first, so the
plain click rate by position blames positions for their items. The two can be told apart only where the same thing was
shown at several positions: intervention harvesting (Agarwal et al., 2019, "Estimating Position Bias without Intrusive
Interventions"). A group is such a thing, of one relevance: an item shown to one user, or to one query.

Relevance is not estimated but eliminated. A group seen twice or thrice cannot tell its relevance, and the usual EM over
(group, position) then fits noise: with a parameter a group it drifts to examination 1 everywhere. Instead every group
shown at positions a and b adds its clicks there, weighted as Mantel and Haenszel weigh strata (n_b / (n_a + n_b) for
the clicks at a), so that the expected clicks at a and at b are in the ratio examination(a) : examination(b) whatever
the relevances are. All pairs of positions together are a Bradley-Terry model, fitted by Newton's method: one
parameter a position, a convex likelihood, the same result every time.

Knows nothing of Spark, users or queries: `recsys_batch.spark.datasets.labels` counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Two neighboring positions are tied together by as many imaginary clicks each: a rare position takes its neighbor's
# value, one with hundreds of clicks hardly moves, and every position is comparable with every other.
_SMOOTHING_CLICKS = 2.0
_MAX_STEPS = 200
_TOLERANCE = 1e-10


class PairCount(NamedTuple):
    """Clicks at `position` on groups that were also shown at `other`, Mantel-Haenszel weighted, and the impressions.

    Where `other` equals `position`: all impressions and clicks there, unweighted.
    """

    position: int
    other: int
    impressions: float
    clicks: float


class GroupCount(NamedTuple):
    """How often one group was shown and clicked at one position."""

    group: str
    position: int
    impressions: int
    clicks: int


@dataclass(frozen=True)
class PositionCurve:
    """P(examined | position) relative to the first position, which has 1; positions ascend."""

    positions: tuple[int, ...]
    examination: tuple[float, ...]
    num_impressions: tuple[int, ...]
    click_rate: tuple[float, ...]
    """The plain click rate of the position, relative to the first one's: what a naive curve would be."""
    num_compared_clicks: tuple[float, ...]
    """Weighted clicks that compare the position with another one; few of them: the value is its neighbor's."""

    def __post_init__(self) -> None:
        """Refuse a curve that cannot be looked up."""
        if list(self.positions) != sorted(set(self.positions)):
            raise ValueError(f"positions {self.positions}: must ascend without repetition")
        if not all(np.isfinite(p) and p > 0 for p in self.examination):
            raise ValueError(f"examination {self.examination}: must be finite and above 0")

    def examination_at(self, position: int) -> float:
        """Return the examination of a position; one that was never seen takes the nearest seen one before it."""
        if not self.positions:
            return 1.0
        place = int(np.searchsorted(self.positions, position, side="right")) - 1
        return self.examination[max(place, 0)]


def harvest_pairs(counts: Iterable[GroupCount]) -> list[PairCount]:
    """Sum up, over groups, what each pair of positions has in common. The plain reference of what Spark counts."""
    groups: dict[str, list[GroupCount]] = {}
    for count in counts:
        groups.setdefault(count.group, []).append(count)
    sums: dict[tuple[int, int], FloatArray] = {}
    for shown in groups.values():
        for here in shown:
            for there in shown:
                same = here.position == there.position
                weight = 1.0 if same else there.impressions / (here.impressions + there.impressions)
                key = (here.position, there.position)
                sums[key] = sums.get(key, np.zeros(2)) + weight * np.array([here.impressions, here.clicks])
    return [PairCount(a, b, float(n), float(c)) for (a, b), (n, c) in sorted(sums.items())]


def fit_position_curve(counts: Iterable[PairCount]) -> PositionCurve:
    """Fit the examination curve to the pair counts of all positions (at most K * K rows for K positions).

    The first position has examination 1; nothing makes the curve fall. Without a click, or with one position, or where
    no group was shown at two positions, nothing is known of the bias and every position has 1.
    """
    rows = list(counts)
    for row in rows:
        if not (0 <= row.clicks <= row.impressions * (1 + 1e-9)):
            raise ValueError(f"{row}: clicks must lie between 0 and the impressions")
    positions = sorted({row.position for row in rows})
    place = {position: k for k, position in enumerate(positions)}
    num_positions = len(positions)
    impressions_K, clicks_K = np.zeros(num_positions), np.zeros(num_positions)
    clicks_KK = np.zeros((num_positions, num_positions))
    for row in rows:
        if row.position == row.other:
            impressions_K[place[row.position]] += row.impressions
            clicks_K[place[row.position]] += row.clicks
        elif row.other in place:
            clicks_KK[place[row.position], place[row.other]] += row.clicks
    rate_K = clicks_K / np.maximum(impressions_K, 1.0)
    # Left unrounded, the last bits would depend on the order in which partitions were summed.
    examination_K = np.round(np.exp(_fit_strengths(clicks_KK)), 6) if num_positions else np.ones(0)
    return PositionCurve(
        tuple(positions),
        tuple(float(p) for p in np.maximum(examination_K, 1e-6)),
        tuple(round(n) for n in impressions_K.tolist()),
        tuple(float(r) for r in (rate_K / rate_K[0] if num_positions and rate_K[0] > 0 else rate_K)),
        tuple(float(c) for c in clicks_KK.sum(axis=1)),
    )


def _fit_strengths(clicks_KK: FloatArray) -> FloatArray:
    """Return log examination, 0 for the first: the Bradley-Terry strengths of `clicks_KK` (clicks at row, not column).

    Newton's method with halved steps; the smoothing makes the Hessian positive definite and the maximum finite.
    """
    wins = clicks_KK.copy()
    if not wins.sum():
        return np.zeros(len(wins))
    neighbors = np.arange(len(wins) - 1)
    wins[neighbors, neighbors + 1] += _SMOOTHING_CLICKS
    wins[neighbors + 1, neighbors] += _SMOOTHING_CLICKS
    total = wins + wins.T
    strengths = np.zeros(len(wins))
    loss = _loss(wins, strengths)
    for _ in range(_MAX_STEPS):
        chance = 1.0 / (1.0 + np.exp(strengths[None, :] - strengths[:, None]))  # of the row against the column
        gradient = (total * chance - wins).sum(axis=1)
        curvature = total * chance * (1.0 - chance)
        hessian = np.diag(curvature.sum(axis=1)) - curvature
        step = np.zeros(len(wins))
        step[1:] = np.linalg.solve(hessian[1:, 1:], gradient[1:])
        scale = 1.0
        while (tried := _loss(wins, strengths - scale * step)) > loss and scale > 1e-9:
            scale /= 2.0
        strengths, loss = strengths - scale * step, min(tried, loss)
        if np.abs(scale * step).max() < _TOLERANCE:
            break
    return strengths


def _loss(wins: FloatArray, strengths: FloatArray) -> float:
    """Return the negative log likelihood, computed so that no exponential overflows."""
    return float((wins * np.logaddexp(0.0, strengths[None, :] - strengths[:, None])).sum())
