"""Who acted on which item, and how many days ago: what every baseline learns from and recommends for."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Log:
    """The acts (E) of keys (K: users or requests) on items (I). Items are numbered in the order of their ids."""

    keys_E: Indices
    items_E: Indices
    ages_E: Values
    """Days from the act to the end of the last day of the log, at least 0."""
    num_keys: int
    num_items: int

    def __post_init__(self) -> None:
        """Refuse indices outside, and ages that no act can have."""
        if not len(self.keys_E) == len(self.items_E) == len(self.ages_E):
            raise ValueError(f"lengths differ: {len(self.keys_E)} keys, {len(self.items_E)} items, {len(self.ages_E)}")
        for name, values, size in (("key", self.keys_E, self.num_keys), ("item", self.items_E, self.num_items)):
            if len(values) and not (values.min() >= 0 and values.max() < size):
                raise ValueError(f"{name} {values.max()} or {values.min()} is not within 0 and {size - 1}")
        if len(self.ages_E) and not (self.ages_E >= 0).all():
            raise ValueError(f"an age of {self.ages_E.min()} days: acts must not come after the end of the log")

    @cached_property
    def matrix(self) -> sparse.csr_array:
        """Return 1 where a key acted on an item, shape (K, I)."""
        return self._matrix(np.ones(len(self.keys_E)), binary=True)

    def decayed(self, decay_days: float) -> sparse.csr_array:
        """Return the sum of exp(-age / decay_days) over the acts of a key on an item, shape (K, I)."""
        return self._matrix(np.exp(-self.ages_E / decay_days))

    def popularity(self, days: float) -> Values:
        """Return how many keys acted on each item within the last `days`, shape (I,)."""
        recent_E = self.ages_E < days
        pairs = np.unique(self.keys_E[recent_E] * self.num_items + self.items_E[recent_E])
        return np.bincount(pairs % self.num_items, minlength=self.num_items).astype(np.float64)

    def until(self, days_ago: float) -> Self:
        """Return the log as it was `days_ago`; the numbers of keys and items stay."""
        kept_E = self.ages_E >= days_ago
        return type(self)(
            self.keys_E[kept_E], self.items_E[kept_E], self.ages_E[kept_E] - days_ago, self.num_keys, self.num_items
        )

    def since(self, days_ago: float) -> Self:
        """Return the acts of the last `days_ago` days."""
        return self.where(self.ages_E < days_ago)

    def where(self, kept_E: Mask) -> Self:
        """Return the log of some acts; the numbers of keys and items stay."""
        return type(self)(self.keys_E[kept_E], self.items_E[kept_E], self.ages_E[kept_E], self.num_keys, self.num_items)

    def newest_left_out(self) -> tuple[Self, Self]:
        """Return the log without each key's newest act, and those acts; keys with one item keep it.

        Of acts at one time the one that stands last is the newest.
        """
        order_E = np.lexsort((np.arange(len(self.keys_E)), -self.ages_E, self.keys_E))
        last_E = np.zeros(len(self.keys_E), dtype=np.bool_)
        keys_E = self.keys_E[order_E]
        last_E[order_E] = np.append(keys_E[1:] != keys_E[:-1], True) if len(keys_E) else False
        last_E &= (self.matrix.sum(axis=1) > 1)[self.keys_E]
        return self.where(~last_E), self.where(last_E)

    def new_only(self, targets: sparse.csr_array) -> sparse.csr_array:
        """Return the targets (K, I) without what the keys have acted on."""
        left = sparse.csr_array(targets - targets.multiply(self.matrix))
        left.eliminate_zeros()
        return left

    def _matrix(self, values_E: Values, binary: bool = False) -> sparse.csr_array:
        made = sparse.coo_array((values_E, (self.keys_E, self.items_E)), shape=(self.num_keys, self.num_items)).tocsr()
        if binary:
            made.data[:] = 1.0
        return made
