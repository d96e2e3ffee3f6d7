"""Which task and which examples every step learns from: a function of the seed and the step alone."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_batch.contracts.config.training import Loop

_POWERS = {"proportional": 1.0, "square_root": 0.5, "uniform": 0.0}


def derive_seed(*parts: int | str) -> int:
    """Return a seed of 63 bits that another list of parts does not share."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@dataclass(frozen=True)
class StepPlan:
    """The examples of one step: positions in its task, one array a micro-batch."""

    step: int
    task: str
    batches: list[NDArray[np.int64]]


class Sampler:
    """Deals examples to steps; every task goes through its own examples in a new order each time around.

    An epoch of the run has as many steps as all tasks need to see each of their examples once. With several tasks the
    steps are drawn, so within an epoch of the run a task may go around its examples more or less than once.
    """

    def __init__(self, sizes: Mapping[str, int], settings: Loop, num_ranks: int = 1) -> None:
        """Deal the examples of tasks of these sizes, none of them 0."""
        self.sizes = dict(sizes)
        self.settings = settings
        self.num_ranks = num_ranks
        self.names = sorted(sizes)
        self.steps_per_epoch = sum(len(_step_starts(size, self._step_size, num_ranks)) for size in sizes.values())
        all_steps = self.steps_per_epoch * settings.epochs
        self.num_steps = min(all_steps, settings.max_steps) if settings.max_steps else all_steps
        power, factors = _POWERS[settings.task_sampling], settings.task_shares
        shares = np.array([sizes[name] ** power * factors.get(name, 1.0) for name in self.names])
        self.probabilities: dict[str, float] = dict(zip(self.names, shares / shares.sum(), strict=True))
        self.step = 0
        self._steps_of_task = dict.fromkeys(self.names, 0)
        self._order: dict[str, tuple[int, NDArray[np.int64]]] = {}

    @property
    def _step_size(self) -> int:
        return self.settings.batch_size * self.settings.optimizer.accumulate

    def deal(self) -> StepPlan:
        """Return the next step's examples."""
        name = self._draw_task()
        starts = _step_starts(self.sizes[name], self._step_size, self.num_ranks)
        round_, position = divmod(self._steps_of_task[name], len(starts))
        start = starts[position]
        chosen = self._order_of(name, round_)[start : start + self._step_size]
        size = self.settings.batch_size
        batches = [chosen[first : first + size] for first in range(0, len(chosen), size)]
        plan = StepPlan(self.step, name, [batch for batch in batches if len(batch) >= self.num_ranks])
        self._steps_of_task[name] += 1
        self.step += 1
        return plan

    def skip_to(self, step: int) -> None:
        """Go on after `step` steps, as if they had been dealt."""
        self.step = 0
        self._steps_of_task = dict.fromkeys(self.names, 0)
        while self.step < step:
            self._steps_of_task[self._draw_task()] += 1
            self.step += 1

    def _draw_task(self) -> str:
        if len(self.names) == 1:
            return self.names[0]
        rng = np.random.default_rng(derive_seed(self.settings.seed, "task", self.step))
        return self.names[int(rng.choice(len(self.names), p=[self.probabilities[name] for name in self.names]))]

    def _order_of(self, name: str, round_: int) -> NDArray[np.int64]:
        kept = self._order.get(name)
        if kept is None or kept[0] != round_:
            rng = np.random.default_rng(derive_seed(self.settings.seed, "order", name, round_))
            kept = self._order[name] = (round_, rng.permutation(self.sizes[name]))
        return kept[1]


def _step_starts(size: int, step_size: int, num_ranks: int) -> range:
    """Return where in a task's order its steps begin; a rest too small for every rank waits for another order."""
    rest = size % step_size
    return range(0, size - rest if 0 < rest < num_ranks else size, step_size)
