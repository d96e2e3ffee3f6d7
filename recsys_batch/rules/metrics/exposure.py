"""Concentration of exposure over items, from how many items are shown how often: pure numbers."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def gini(times_L: FloatArray, num_items_L: FloatArray) -> float:
    """Return the Gini index of exposure: 0 where all items are shown equally often, near 1 where one has it all.

    `num_items_L` items are shown `times_L` times each, one entry a level. The mean absolute difference of two items
    over twice the mean, which is the area between the Lorenz curve and the diagonal, doubled. NaN where nothing is
    shown.
    """
    order = np.argsort(times_L)
    times_L, num_items_L = times_L[order], num_items_L[order]
    size, total = num_items_L.sum(), (times_L * num_items_L).sum()
    if not total:
        return float("nan")
    # Ranks of the items of a level, from 1 on, have this mean.
    middle_L = np.cumsum(num_items_L) - (num_items_L - 1) / 2
    return float(((2 * middle_L - size - 1) * times_L * num_items_L).sum() / (size * total))


def top_share(times_L: FloatArray, num_items_L: FloatArray, num_top: int) -> float:
    """Return the share of all exposure that the `num_top` most shown items have; NaN where nothing is shown.

    `num_items_L` items are shown `times_L` times each. Raises ValueError where `num_top` is below 1.
    """
    if num_top < 1:
        raise ValueError(f"num_top must be 1 or more, not {num_top}")
    order = np.argsort(times_L)[::-1]
    times_L, num_items_L = times_L[order], num_items_L[order]
    total = (times_L * num_items_L).sum()
    before_L = np.cumsum(num_items_L) - num_items_L
    taken_L = np.clip(num_top - before_L, 0, num_items_L)
    return float((times_L * taken_L).sum() / total) if total else float("nan")
