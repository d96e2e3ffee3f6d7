"""Rows of sparse matrices: whose a cell is, what stands in a cell, and the strongest cells of each row."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Indices = npt.NDArray[np.int64]


def owners_of(starts: npt.NDArray[np.integer]) -> Indices:
    """Return the row of each cell, where row r has the cells `starts[r]` to `starts[r + 1]`."""
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def values_at(matrix: sparse.csr_array, rows: Indices, columns: Indices) -> npt.NDArray[Any]:
    """Return what stands at (row, column), 0 for a cell without a value; the columns of each row must be in order.

    All cells are looked for at once, by halving what is left of each one's row.
    """
    last = matrix.indices.size - 1
    if last < 0 or not rows.size:
        return np.zeros(rows.size, dtype=matrix.dtype)
    low, ends = matrix.indptr[rows].astype(np.int64), matrix.indptr[rows + 1].astype(np.int64)
    high = ends.copy()
    for _ in range(int((ends - low).max()).bit_length()):
        middle = (low + high) // 2
        is_left = (low < high) & (matrix.indices[np.minimum(middle, last)] < columns)
        high = np.where((low < high) & ~is_left, middle, high)
        low = np.where(is_left, middle + 1, low)
    places = np.minimum(low, last)
    return np.where((low < ends) & (matrix.indices[places] == columns), matrix.data[places], 0)


def strongest(
    matrix: sparse.csr_array, number: int, without: npt.NDArray[np.integer] | None = None
) -> sparse.csr_array:
    """Keep the `number` largest positive values of every row, of equal ones those of the first columns.

    `without` is a column of each row that is left out.
    """
    rows = owners_of(matrix.indptr)
    kept = matrix.data > 0
    if without is not None:
        kept &= matrix.indices != without[rows]
    # Most of a long row is far from its best: one pass finds the least that can matter, and only the rest is sorted.
    for start, stop in pairwise(matrix.indptr.tolist()):
        if stop - start > number:
            row = np.where(kept[start:stop], matrix.data[start:stop], -np.inf)
            kept[start:stop] &= row >= np.partition(row, -number)[-number]
    rows, columns, data = rows[kept], matrix.indices[kept], matrix.data[kept]
    order = np.lexsort((columns, -data, rows))
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=matrix.shape[0]))])
    top = order[np.arange(order.size) - starts[rows[order]] < number]
    made = sparse.csr_array((data[top], (rows[top], columns[top])), shape=matrix.shape)
    made.sort_indices()
    return made
