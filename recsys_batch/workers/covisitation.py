"""Counts item pairs within user sequences: the heavy part of co-visitation, as partial sums of one partition."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_batch.contracts.config.night import Covisitation
from recsys_batch.contracts.schemas import PAIRS

# Pairs held before they are summed: 3 arrays of 8 bytes each.
_PAIRS_HELD = 4_000_000


@dataclass(frozen=True)
class CountPairs:
    """(items, steps, weights) a user -> partial sums (item, neighbor, weight)."""

    config: Covisitation
    min_distance: int = 0
    """Pairs closer than so many steps are not counted; 0: items of one basket are pairs."""
    output_schema: pa.Schema = field(default=PAIRS, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Sum the pairs of the partition's users; memory is bounded by `_PAIRS_HELD`."""
        held: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []
        num_held = 0
        for batch in batches:
            for items, steps, weights in zip(*(batch.column(n) for n in ("items", "steps", "weights")), strict=True):
                pairs = self.pairs_of(_numpy(items), _numpy(steps), _numpy(weights))
                held.append(pairs)
                num_held += pairs[0].size
                if num_held >= _PAIRS_HELD:
                    yield _summed(held)
                    held, num_held = [], 0
        if num_held:
            yield _summed(held)

    def pairs_of(
        self, items_L: npt.NDArray[np.int64], steps_L: npt.NDArray[np.int64], weights_L: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return the codes (item << 32 | neighbor) and weights of one user's pairs, `steps_L` ascending.

        A pair weighs `distance_decay ** (distance - 1)`, times `backward` where the neighbor came before, times the
        geometric mean of the two interactions' weights. An item met twice is its own neighbor, once.
        """
        first, second = np.triu_indices(items_L.size, 1)
        distance = steps_L[second] - steps_L[first]
        near = (distance >= self.min_distance) & (distance <= self.config.max_distance)
        first, second, distance = first[near], second[near], distance[near]
        forward = self.config.distance_decay ** np.maximum(distance - 1, 0) * np.sqrt(
            weights_L[first] * weights_L[second]
        )
        # Within one basket there is no before and after.
        backward = forward * np.where(distance == 0, 1.0, self.config.backward)
        left, right = items_L[first], items_L[second]
        other = left != right
        codes = np.concatenate([left << 32 | right, right[other] << 32 | left[other]])
        return codes, np.concatenate([forward, backward[other]])


def _numpy(values: pa.ListScalar) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = values.values.to_numpy(zero_copy_only=False)
    return array.astype(np.int64) if array.dtype.kind == "i" else array


def _summed(held: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]) -> pa.RecordBatch:
    codes, places = np.unique(np.concatenate([codes for codes, _ in held]), return_inverse=True)
    sums = np.bincount(places, weights=np.concatenate([weights for _, weights in held]))
    items, neighbors = (codes >> 32).astype(np.int32), (codes & 0xFFFFFFFF).astype(np.int32)
    return pa.record_batch([pa.array(items), pa.array(neighbors), pa.array(sums)], schema=PAIRS)
