"""Items that a query must not get, as rows of sorted item indices (CSR), and their cells in a block of scores."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class SeenItems:
    """Query q must not get `item_indices[indptr[q]:indptr[q + 1]]`; indices a row ascend (repeats are allowed).

    An index that no block holds excludes nothing.
    """

    indptr: NDArray[np.int64]
    item_indices: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Raise ValueError where the arrays are no CSR with sorted, non-negative rows."""
        indptr, items = np.asarray(self.indptr), np.asarray(self.item_indices)
        if (
            indptr.ndim != 1
            or indptr.size < 1
            or indptr[0] != 0
            or indptr[-1] != items.size
            or (np.diff(indptr) < 0).any()
        ):
            raise ValueError(f"indptr must ascend from 0 to the number of item indices ({items.size})")
        if items.size and items.min() < 0:
            raise ValueError(f"item indices must not be negative: {items.min()}")
        starts = np.zeros(items.size + 1, dtype=bool)
        starts[indptr] = True
        unsorted = (np.diff(items) < 0) & ~starts[1 : items.size]
        if unsorted.any():
            position = int(unsorted.argmax()) + 1
            raise ValueError(
                f"item indices of query {int(np.searchsorted(indptr, position, 'right')) - 1} are not sorted"
            )

    @property
    def num_queries(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    def lookup(self, queries: slice, device: torch.device) -> "SeenLookup":
        """Return the rows of `queries` (a slice with bounds and step 1), reordered by item for `SeenLookup.cells`."""
        indptr = np.asarray(self.indptr[queries.start : queries.stop + 1], dtype=np.int64)
        items = np.asarray(self.item_indices[indptr[0] : indptr[-1]], dtype=np.int64)
        rows = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
        order = np.argsort(items, kind="stable")
        return SeenLookup(items[order], rows[order], device)


class SeenLookup:
    """The seen items of one chunk of queries, ordered by item, so that a block's share is one slice."""

    def __init__(self, items: NDArray[np.int64], rows: NDArray[np.int64], device: torch.device) -> None:
        """Keep pairs (item, row), ordered by item; rows count from the chunk's first query."""
        self._items = torch.from_numpy(items).to(device)
        self._rows = torch.from_numpy(rows).to(device)

    def cells(self, items_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows and columns of the seen cells in scores whose columns are `items_B` (ascending, not empty)."""
        bounds = torch.stack([items_B[0], items_B[-1] + 1])
        first, last = torch.searchsorted(self._items, bounds).tolist()
        items, rows = self._items[first:last], self._rows[first:last]
        columns = torch.searchsorted(items_B, items)
        is_here = items_B[columns] == items
        return rows[is_here], columns[is_here]
