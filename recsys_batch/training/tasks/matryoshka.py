"""Matryoshka training: leading dimensions that are good vectors by themselves (Kusupati et al., 2022).

Wraps a task that compares vectors: its loss is summed over the full vectors and over their leading dimensions, each
scaled to length 1 again, as the night does with `encoder.dimensions`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.loop.task import TaskBatch
from recsys_batch.training.tasks.query_document import truncate


class VectorTask(Protocol):
    """A task whose `outputs(batch)` is `compare(vectors(batch), batch)`, for vectors of any leading dimensions."""

    name: str
    module: nn.Module

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    def __len__(self) -> int:
        """Return the number of training examples."""

    def start_epoch(self, epoch: int) -> None:
        """Prepare an epoch."""

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        """Return the examples of these positions as a batch."""

    def vectors(self, batch: TaskBatch) -> Sequence[Tensor]:
        """Run the network; return unit vectors, (N, dim) each."""

    def compare(self, vectors: Sequence[Tensor], batch: TaskBatch) -> Tensor:
        """Return what `loss` reads, of one shape whatever the vectors' width."""

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the sum of the batch's loss terms."""

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:
        """Return how far apart two passes are."""

    def evaluate(self, dimensions: Sequence[int] = ()) -> dict[str, float]:
        """Return metrics of the full vectors, and of leading dimensions as `METRIC[dim=64]`."""


class MatryoshkaTask:
    """A task as the loop sees it; name, batches and network are those of the task within."""

    def __init__(self, task: VectorTask, weights: Mapping[int, float]) -> None:
        """Learn each number of leading dimensions with its weight; the full width counts only where it is named.

        Raises ConfigError where there are none, or a number does not lie within 1 and the vectors' width.
        """
        wrong = [dim for dim in weights if not 1 <= dim <= task.dim]
        if wrong or not weights:
            raise ConfigError(f"matryoshka.dimensions {list(weights)}: each must be 1 to {task.dim}, the model's width")
        self.name = task.name
        self.module = task.module
        self._task = task
        self._weights = dict(sorted(weights.items()))

    def __len__(self) -> int:
        """Return the number of training examples."""
        return len(self._task)

    def start_epoch(self, epoch: int) -> None:
        """Prepare an epoch of the task within."""
        self._task.start_epoch(epoch)

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        """Return the examples of these positions as a batch."""
        return self._task.make_batch(indices, rng)

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return the outputs of the task within, one a number of dimensions, stacked; the network runs once."""
        vectors = self._task.vectors(batch)
        return torch.stack([self._task.compare(self._cut(vectors, dim), batch) for dim in self._weights])

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the weighted sum of the losses."""
        parts = zip(self._weights.values(), outputs, strict=True)
        return torch.stack([weight * self._task.loss(part, batch) for weight, part in parts]).sum()

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:
        """Return the weighted sum of the divergences."""
        parts = zip(self._weights.values(), first, second, strict=True)
        return torch.stack([weight * self._task.divergence(a, b, batch) for weight, a, b in parts]).sum()

    def evaluate(self) -> dict[str, float]:
        """Return the metrics of the task within, and those of fewer dimensions as `METRIC[dim=64]`."""
        return self._task.evaluate([dim for dim in self._weights if dim < self._task.dim])

    def _cut(self, vectors: Sequence[Tensor], dim: int) -> Sequence[Tensor]:
        return vectors if dim == self._task.dim else [truncate(vectors_NH, dim) for vectors_NH in vectors]
