"""Distances between the items of lists, from record batches of vectors. Knows no Spark."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa


def mean_cosine_distances(places: pa.Array, vectors: pa.Array, ks: Sequence[int]) -> pa.Array:
    """Return for every list, at every k of `ks`, the mean of 1 - cosine over the pairs of its items.

    `places` (list<int>) ascend within a list; `vectors` (list<list<float>>) are those of the same items, all equally
    long. Vectors of zeros are left out of the pairs; 0 where there is no pair. Raises ValueError on vectors of several
    lengths.
    """
    starts = vectors.offsets.to_numpy() - vectors.offsets[0].as_py()
    inner = vectors.flatten()
    values = inner.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    places_N = places.flatten().to_numpy(zero_copy_only=False)
    widths = np.unique(np.diff(inner.offsets.to_numpy()))
    if widths.size > 1:
        raise ValueError(f"vectors have lengths from {widths[0]} to {widths[-1]}; they must be equally long")
    vectors_ND = values.reshape(len(inner), -1)
    norms_N = np.linalg.norm(vectors_ND, axis=1)
    unit_ND = vectors_ND / np.where(norms_N > 0, norms_N, 1.0)[:, None]
    distances_LK = np.zeros((len(vectors), len(ks)))
    for row, (start, end) in enumerate(pairwise(starts)):
        for column, k in enumerate(ks):
            kept_N = (places_N[start:end] <= k) & (norms_N[start:end] > 0)
            distances_LK[row, column] = _mean_distance(unit_ND[start:end][kept_N])
    return pa.array(distances_LK.tolist(), pa.list_(pa.float64()))


def _mean_distance(unit_ND: np.ndarray) -> float:
    """Return the mean of 1 - cosine over pairs. The square of the sum of unit vectors holds all their products."""
    size = len(unit_ND)
    if size < 2:
        return 0.0
    total_D = unit_ND.sum(axis=0)
    return float(1 - (total_D @ total_D - size) / (size * (size - 1)))
