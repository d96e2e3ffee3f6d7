"""What can be learned: a task makes batches from its examples, and turns the network's outputs into a loss.

Everything random in a batch comes from the generator that it is given, and the loop seeds torch before every step, so
that a run is a function of its seed and step: that is why an interrupted run, resumed, ends with the same weights.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class TaskBatch:
    """Some examples of one task, ready for the network, on the CPU."""

    inputs: Any
    """What the task's own `outputs` and `loss` read."""
    count: float
    """Number of terms that the loss sums: examples, tagged tokens, masked tokens. Known before the network runs, so
    that gradients accumulated over batches, or averaged over processes, are those of one large batch."""
    num_tokens: int = 0
    """Real tokens that the network reads, for the throughput."""


class Task(Protocol):
    """One thing to learn. `module` holds all it trains; what several tasks share is the same object in each."""

    name: str

    @property
    def module(self) -> nn.Module:
        """Return the network with all that this task trains."""

    def __len__(self) -> int:
        """Return the number of training examples."""

    def start_epoch(self, epoch: int) -> None:
        """Prepare an epoch (0, 1, ...) of this task: refresh mined negatives, say. Depends on the network's weights and
        the epoch alone; called again with the same epoch where a run is resumed in it.
        """

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        """Return the examples of these positions as a batch."""

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Run the network on the device of its weights; what `loss` and `divergence` read."""

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the sum of the batch's loss terms, a scalar."""

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:
        """Return how far apart two passes with different dropout are, summed over the terms; for R-Drop."""

    def evaluate(self) -> dict[str, float]:
        """Return metrics on the held-out examples, the network in evaluation mode; empty where there are none."""


def trainable_parameters(tasks: Iterable[Task]) -> dict[str, nn.Parameter]:
    """Return what the tasks train, each parameter once, by the name under which the first task holds it."""
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for task in tasks:
        for name, parameter in task.module.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{task.name}.{name}"] = parameter
    return found
