"""Joins the scores of the candidate sources into one, per profile."""

from typing import Literal

import numpy as np
import numpy.typing as npt

Calibration = Literal["none", "max", "zscore"]
FloatArray = npt.NDArray[np.float64]


def calibrate(scores_C: FloatArray, method: Calibration) -> FloatArray:
    """Bring one source's scores of one profile's C candidates to a scale that other sources share.

    `none` keeps them; `max` divides by the largest (where it is positive); `zscore` centers and divides by the
    standard deviation. Constant or empty scores become zeros under `zscore`.
    """
    if scores_C.size == 0 or method == "none":
        return scores_C
    if method == "max":
        largest = scores_C.max()
        return scores_C / largest if largest > 0 else scores_C
    spread = scores_C.std()
    return (
        (scores_C - scores_C.mean()) / spread
        if spread > 1e-12 * max(1.0, float(np.abs(scores_C).max()))
        else np.zeros_like(scores_C)
    )


def blend(
    scores_SC: FloatArray, methods: tuple[Calibration, ...], weights: tuple[float, ...]
) -> tuple[FloatArray, FloatArray]:
    """Return the blended score of each candidate (C,) and every source's share of it (S, C)."""
    parts_SC = np.empty_like(scores_SC)
    for source, (method, weight) in enumerate(zip(methods, weights, strict=True)):
        parts_SC[source] = weight * calibrate(scores_SC[source], method)
    return parts_SC.sum(axis=0), parts_SC


def rank_order(scores_C: npt.NDArray[np.float32], item_indices_C: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the positions by score descending, then item index ascending: the one order of every list."""
    return np.lexsort((item_indices_C, -scores_C))
