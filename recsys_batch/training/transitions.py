"""Which item came after which, counted over sequences and factorized: what a sequence model's memory starts from.

A softmax trained from nothing on a few thousand sequences ends below plain counts of pairs; started from them it need
only correct them. The factorization is the truncated singular value decomposition (as pure SVD: Cremonesi et al.,
2010), here of transitions and not of users' items. Dense: for the items that training has seen, not for millions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_OVERSAMPLING = 32
_ITERATIONS = 4


@dataclass(frozen=True)
class TransitionSettings:
    """What a pair of events of one sequence counts."""

    decay: float = 0.7
    """Factor a place between them."""
    backward: float = 0.5
    """What the earlier item counts after the later one."""
    shrinkage: float = 10.0
    """Added to an item's count before its row is divided by the square root of that."""

    def __post_init__(self) -> None:
        """Raise ValueError for a factor that is no share, or a negative shrinkage."""
        if not (0 <= self.decay <= 1 and 0 <= self.backward <= 1 and self.shrinkage >= 0):
            raise ValueError(f"decay and backward must lie in [0, 1], and shrinkage must not be negative: {self}")


def count_transitions(
    sequences: Sequence[NDArray[np.int64]], num_items: int, settings: TransitionSettings | None = None
) -> NDArray[np.float32]:
    """Return (I, I): how strongly the column's item follows the row's.

    Every two places of a sequence with different items count `decay ** (distance - 1)`, against the order `backward`
    times that; a row is divided by `sqrt(count of its item + shrinkage)`. Zero for items that never occur.
    """
    settings = settings or TransitionSettings()
    strengths_II = np.zeros((num_items, num_items), dtype=np.float32)
    counts_I = np.zeros(num_items)
    for items in sequences:
        np.add.at(counts_I, items, 1)
        for distance in range(1, len(items)):
            first, second = items[:-distance], items[distance:]
            weight = settings.decay ** (distance - 1)
            np.add.at(strengths_II, (first, second), weight)
            np.add.at(strengths_II, (second, first), weight * settings.backward)
    np.fill_diagonal(strengths_II, 0.0)
    roots_I = np.sqrt(np.maximum(counts_I + settings.shrinkage, 1e-12)).astype(np.float32)
    divided_II: NDArray[np.float32] = np.divide(strengths_II, roots_I[:, None], dtype=np.float32)
    return divided_II


def factorize_transitions(strengths_II: NDArray[np.float32], dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return codes (I, dim) of the item before and of the item after, whose products come nearest to the strengths.

    Randomized SVD (Halko et al., 2011) by `seed`; both sides carry the root of the singular values. Columns beyond the
    number of items are 0.
    """
    num_items = len(strengths_II)
    before_IM, after_IM = torch.zeros(num_items, dim), torch.zeros(num_items, dim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        left, values, right = torch.svd_lowrank(
            torch.from_numpy(strengths_II), q=min(num_items, dim + _OVERSAMPLING), niter=_ITERATIONS
        )
    kept = min(num_items, dim)
    roots = values[:kept].sqrt()
    before_IM[:, :kept], after_IM[:, :kept] = left[:, :kept] * roots, right[:, :kept] * roots
    return before_IM, after_IM
