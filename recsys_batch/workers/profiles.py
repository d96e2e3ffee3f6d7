"""Profiles and their candidates as flat arrays, all profiles of a batch at once.

Shapes: P profiles, N candidates of all profiles together, I items, L acts.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from recsys_batch.rules.sparse_rows import owners_of, values_at
from recsys_batch.workers.ragged import Ragged

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
# Cells of a block of products that are laid out densely: 80 MB.
_DENSE_CELLS = 20_000_000


@dataclass(frozen=True, eq=False)
class Candidates:
    """Items proposed for each profile, ascending by row within a profile."""

    starts_P: IntArray
    """Those of profile p are `items_N[starts_P[p]:starts_P[p + 1]]`."""
    items_N: IntArray

    @classmethod
    def of(cls, lists: Ragged) -> "Candidates":
        """Return the candidates in a list column of rows."""
        return cls(lists.starts, lists.values.astype(np.int64, copy=False))

    @cached_property
    def owners(self) -> IntArray:
        """The profile of each candidate (N,)."""
        return owners_of(self.starts_P)

    def __len__(self) -> int:
        """Return the number of profiles."""
        return len(self.starts_P) - 1

    def pick(self, scores_PI: sp.csr_array | npt.NDArray[np.float32]) -> FloatArray:
        """Return each candidate's score (N,) out of those of all items; 0 where a sparse one has none."""
        if not isinstance(scores_PI, np.ndarray):
            if scores_PI.shape[0] * scores_PI.shape[1] > _DENSE_CELLS:
                scores_PI.sum_duplicates()
                return values_at(scores_PI, self.owners, self.items_N).astype(np.float32)
            scores_PI = scores_PI.toarray()
        return np.asarray(scores_PI[self.owners, self.items_N], dtype=np.float32)

    def ranks(self, scores_N: FloatArray) -> FloatArray:
        """Return each candidate's place, from 0, among its profile's by score; ties by row."""
        ranks_N = np.empty(self.items_N.size, dtype=np.float32)
        # Items ascend within a profile, so that a stable sort breaks ties by row.
        for start, stop in pairwise(self.starts_P.tolist()):
            ranks_N[start + np.argsort(-scores_N[start:stop], kind="stable")] = np.arange(stop - start)
        return ranks_N


@dataclass(frozen=True, eq=False)
class Acts:
    """What P profiles did: one entry an item and day, newest first, by row of the item index."""

    items: Ragged
    ages_L: FloatArray
    """Days; NaN where the profile has no times."""
    weights_L: FloatArray
    bought_L: npt.NDArray[np.bool_]
    num_items: int

    @classmethod
    def from_batch(cls, batch: pa.RecordBatch, num_items: int) -> "Acts":
        """Return the acts of a batch of `schemas.CANDIDATES`; of a profile without any its history, without times."""
        acts = batch.column("acts")
        if acts.null_count == len(acts) and len(acts):
            history = Ragged.from_arrow(batch.column("history"), np.int64)
            length = history.values.size
            return cls(
                history,
                np.full(length, np.nan, dtype=np.float32),
                np.ones(length, dtype=np.float32),
                np.zeros(length, dtype=np.bool_),
                num_items,
            )
        return cls(
            Ragged.from_arrow(acts, np.int64),
            Ragged.from_arrow(batch.column("act_ages"), np.float32).values,
            Ragged.from_arrow(batch.column("act_weights"), np.float32).values,
            Ragged.from_arrow(batch.column("act_bought"), np.bool_).values,
            num_items,
        )

    def __len__(self) -> int:
        """Return the number of profiles."""
        return len(self.items)

    @cached_property
    def owners(self) -> IntArray:
        """The profile of each act (L,)."""
        return owners_of(self.items.starts)

    @cached_property
    def places(self) -> IntArray:
        """The place of each act in its profile (L,), 0 for the newest."""
        return np.arange(self.items.values.size) - self.items.starts[self.owners]

    def decay(self, days: float, places: float = 10.0) -> FloatArray:
        """Return exp(-age / days) of each act (L,), of those without times exp(-place / places)."""
        by_age = np.exp(-self.ages_L / days)
        return np.where(np.isnan(self.ages_L), np.exp(-self.places / places), by_age).astype(np.float32)

    @cached_property
    def newest(self) -> FloatArray:
        """Age of each profile's newest act (P,); NaN without one, or without times."""
        newest_P = np.full(len(self), np.nan, dtype=np.float32)
        has_P = np.diff(self.items.starts) > 0
        newest_P[has_P] = self.ages_L[self.items.starts[:-1][has_P]]
        return newest_P

    @cached_property
    def on_last_day(self) -> npt.NDArray[np.bool_]:
        """Whether an act is of the profile's last day with any (L,); of acts without times the newest one is."""
        # Acts of a day differ by hours: the day ends 24 hours before the newest.
        is_last = self.ages_L - self.newest[self.owners] < 1.0
        return np.where(np.isnan(self.ages_L), self.places == 0, is_last)

    @cached_property
    def is_newest_of_item(self) -> npt.NDArray[np.bool_]:
        """Whether an act is the profile's newest on its item (L,)."""
        return self._is_first(np.arange(self.items.values.size))

    @cached_property
    def is_oldest_of_item(self) -> npt.NDArray[np.bool_]:
        """Whether an act is the profile's oldest on its item (L,)."""
        return self._is_first(-np.arange(self.items.values.size))

    def _is_first(self, order_L: IntArray) -> npt.NDArray[np.bool_]:
        items_L = self.items.values
        sorted_L = np.lexsort((order_L, items_L, self.owners))
        keys_L = self.owners[sorted_L] * self.num_items + items_L[sorted_L]
        first_L = np.zeros(sorted_L.size, dtype=np.bool_)
        first_L[sorted_L] = np.append(True, keys_L[1:] != keys_L[:-1])[: sorted_L.size]
        return first_L

    def matrix(self, values_L: npt.NDArray[np.floating], largest: float = np.inf) -> sp.csr_array:
        """Return the sums of the values of a profile's acts on an item, at most `largest`, shape (P, I)."""
        made = sp.csr_array(
            (np.asarray(values_L, dtype=np.float32), self.items.values, self.items.starts),
            shape=(len(self), self.num_items),
        ).copy()
        made.sum_duplicates()
        np.minimum(made.data, largest, out=made.data)
        return made

    def mean(self, values_L: npt.NDArray[np.floating]) -> FloatArray:
        """Return the mean of the values over each profile's acts, those that are NaN left out; NaN without any."""
        known = ~np.isnan(values_L)
        sums_P = np.bincount(self.owners[known], weights=values_L[known], minlength=len(self))
        counts_P = np.bincount(self.owners[known], minlength=len(self))
        return np.where(counts_P > 0, sums_P / np.maximum(counts_P, 1), np.nan).astype(np.float32)
