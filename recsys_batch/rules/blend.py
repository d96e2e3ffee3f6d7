"""Joins the scores of the candidate sources into one, for all lists of a block at once.

Shapes: P lists, N candidates of all lists together, S sources. List p has the candidates `starts_P[p]` to
`starts_P[p + 1]`.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from recsys_batch.rules.sparse_rows import owners_of

Calibration = Literal["none", "max", "zscore"]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def calibrate(scores_N: FloatArray, starts_P: IntArray, method: Calibration) -> FloatArray:
    """Bring one source's scores of each list's candidates to a scale that other sources share.

    `none` keeps them; `max` divides by the list's largest (where it is positive); `zscore` centers and divides by the
    list's standard deviation. Constant scores become zeros under `zscore`.
    """
    if scores_N.size == 0 or method == "none":
        return scores_N
    owners = owners_of(starts_P)
    largest_P = by_list(np.maximum, scores_N, starts_P)
    if method == "max":
        return scores_N / np.where(largest_P > 0, largest_P, 1.0)[owners]
    sizes_P = np.maximum(np.diff(starts_P), 1)
    centered_N = scores_N - (by_list(np.add, scores_N, starts_P) / sizes_P)[owners]
    spreads_P = np.sqrt(by_list(np.add, centered_N**2, starts_P) / sizes_P)
    # The mean of equal numbers is off by a rounding error, which is no spread to divide by.
    varies_P = spreads_P > 1e-12 * np.maximum(1.0, by_list(np.maximum, np.abs(scores_N), starts_P))
    return np.where(varies_P[owners], centered_N / np.where(varies_P, spreads_P, 1.0)[owners], 0.0)


def blend(
    scores_SN: FloatArray, starts_P: IntArray, methods: tuple[Calibration, ...], weights: tuple[float, ...]
) -> tuple[FloatArray, FloatArray]:
    """Return the blended score of each candidate (N,) and every source's share of it (S, N)."""
    parts_SN = np.empty_like(scores_SN)
    for source, (method, weight) in enumerate(zip(methods, weights, strict=True)):
        parts_SN[source] = weight * calibrate(scores_SN[source], starts_P, method)
    return parts_SN.sum(axis=0), parts_SN


def rank_order(scores_C: npt.NDArray[np.float32], item_indices_C: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the positions by score descending, then item index ascending: the one order of every list."""
    return np.lexsort((item_indices_C, -scores_C))


def list_order(scores_N: npt.NDArray[np.float32], items_N: IntArray, starts_P: IntArray) -> IntArray:
    """Return the positions list by list, each list in the order of `rank_order`; scores must be finite."""
    lengths_P = np.diff(starts_P)
    positions_N = np.arange(items_N.size)
    falls_N = np.diff(items_N, prepend=items_N[:1]) < 0
    falls_N[starts_P[:-1][lengths_P > 0]] = False
    if falls_N.any():
        positions_N = np.lexsort((items_N, owners_of(starts_P)))
    # Lists are short: sorting each by itself is several times faster than one sort of all.
    is_filled_PC = np.arange(lengths_P.max(initial=0)) < lengths_P[:, None]
    laid_PC = np.full(is_filled_PC.shape, np.inf, dtype=np.float32)
    laid_PC[is_filled_PC] = -scores_N[positions_N]
    places_PC = np.argsort(laid_PC, axis=1, kind="stable")
    return np.asarray(positions_N[(starts_P[:-1, None] + places_PC)[is_filled_PC]])


def by_list(join: np.ufunc, values_N: npt.NDArray[np.floating], starts_P: IntArray) -> FloatArray:
    """Return what `join` makes of each list's values (P,); 0 for an empty list."""
    joined_P = np.zeros(len(starts_P) - 1)
    filled = np.flatnonzero(np.diff(starts_P))
    joined_P[filled] = join.reduceat(values_N, starts_P[filled])
    return joined_P
