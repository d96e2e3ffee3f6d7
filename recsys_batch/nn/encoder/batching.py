"""Plans which texts share a forward pass: batches of similar lengths under a budget of padded tokens.

Pure arithmetic on lengths; knows nothing of tokenizers, tensors or devices.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FINE_STEP = 16
_FINE_UNTIL = 256
_COARSE_STEP = 64


@dataclass(frozen=True)
class Batch:
    """Texts of one forward pass: positions in the caller's list, and the length that each is padded to (in tokens)."""

    indices: NDArray[np.int64]
    padded_length: int


def length_ladder(max_tokens: int) -> tuple[int, ...]:
    """Return the padded lengths in use, ascending: 8, 16, then steps of 16, from 256 on steps of 64; the last is
    `max_tokens`.

    Few shapes keep kernel caches warm, and attention is fastest at multiples of 16.
    Raises ValueError where `max_tokens` is not positive.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, not {max_tokens}")
    rungs = [8, *range(_FINE_STEP, _FINE_UNTIL, _FINE_STEP), *range(_FINE_UNTIL, max_tokens, _COARSE_STEP)]
    return (*(rung for rung in rungs if rung < max_tokens), max_tokens)


def plan_batches(lengths: Sequence[int] | NDArray[np.int64], token_budget: int, ladder: Sequence[int]) -> list[Batch]:
    """Put every text into exactly one batch, longest first, so that a batch too large for memory shows at once.

    `len(batch) * padded_length` stays within `token_budget`, except for a text that exceeds it alone. A batch ends
    before texts of less than half its padded length, so that padding never doubles the work. Equal lengths keep the
    caller's order.

    Raises ValueError for a budget below 1, or a length outside 1 to the ladder's last rung.
    """
    if token_budget < 1:
        raise ValueError(f"token_budget must be at least 1, not {token_budget}")
    lengths_N = np.asarray(lengths, dtype=np.int64)
    if lengths_N.size and (lengths_N.min() < 1 or lengths_N.max() > ladder[-1]):
        raise ValueError(f"lengths must lie in 1..{ladder[-1]}, not {lengths_N.min()}..{lengths_N.max()}")
    order_N = np.argsort(-lengths_N, kind="stable")
    descending_N = -lengths_N[order_N]
    batches = []
    start = 0
    while start < order_N.size:
        padded_length = ladder[bisect_left(ladder, -int(descending_N[start]))]
        fits = max(1, token_budget // padded_length)
        too_short = int(np.searchsorted(descending_N, -(padded_length // 2), side="right"))
        end = min(start + fits, max(too_short, start + 1))
        batches.append(Batch(order_N[start:end], padded_length))
        start = end
    return batches


def halve(batch: Batch) -> tuple[Batch, Batch]:
    """Cut a batch of two texts or more in two, the shorter texts first."""
    middle = (len(batch.indices) + 1) // 2
    return Batch(batch.indices[middle:], batch.padded_length), Batch(batch.indices[:middle], batch.padded_length)
