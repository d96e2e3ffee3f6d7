"""One optimizer step: the gradients of its batches, however they are accumulated, perturbed or shared by processes."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from recsys_batch.contracts.config.training import Loop
from recsys_batch.contracts.errors import CheckFailedError
from recsys_batch.nn.files.dtypes import DTYPES
from recsys_batch.training.loop import distributed
from recsys_batch.training.loop.adversarial import add_adversarial_gradients, find_word_embeddings
from recsys_batch.training.loop.optimizers import make_optimizer, schedule_factor, set_rates
from recsys_batch.training.loop.sampling import StepPlan, derive_seed
from recsys_batch.training.loop.task import Task, TaskBatch, trainable_parameters
from recsys_batch.training.loop.weighting import TaskWeights


class NonFiniteLossError(CheckFailedError):
    """The loss or its gradient is infinite or not a number; the same run would end the same way."""


@dataclass(frozen=True)
class StepOutcome:
    """What one step did, over all processes."""

    step: int
    task: str
    loss: float
    """Mean of the task's loss terms, before it is weighed against other tasks'."""
    num_examples: int
    num_tokens: int


class Learner:
    """Takes steps: holds the optimizer and what is learned besides the tasks' networks."""

    def __init__(self, tasks: Sequence[Task], settings: Loop, device: torch.device, num_steps: int) -> None:
        """Prepare to learn the tasks, whose networks are on `device`."""
        self.tasks = {task.name: task for task in tasks}
        self.settings = settings
        self.device = device
        self.num_steps = num_steps
        names = sorted(self.tasks)
        self.weights = TaskWeights(names, settings.task_weights, settings.learn_task_weights).to(device)
        log_variances = {f"task_weights.{n}": p for n, p in self.weights.named_log_variances().items()}
        self.parameters: dict[str, nn.Parameter] = trainable_parameters(tasks) | log_variances
        modules = [task.module for task in tasks]
        self.optimizer = make_optimizer(self.parameters, modules, settings.optimizer)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")
        self._embeddings = (
            {task.name: find_word_embeddings(task.module) for task in tasks}
            if settings.adversarial.method != "none"
            else {}
        )

    def learn(self, plan: StepPlan) -> StepOutcome:
        """Take one step. Raises NonFiniteLossError, the weights unchanged, where its loss is no finite number."""
        task = self.tasks[plan.task]
        batches = self._make_batches(task, plan)
        sums = torch.tensor(
            [[batch.count, batch.num_tokens] for batch in batches], dtype=torch.float64, device=self.device
        ).sum(0)
        count, num_tokens = distributed.add_over_ranks(sums).tolist()
        self.optimizer.zero_grad(set_to_none=True)
        loss_sum = self._add_gradients(task, plan, batches, count or 1.0)
        loss = float(distributed.add_over_ranks(loss_sum)) / (count or 1.0)
        _check_finite(loss, "loss", plan)
        if self._embeddings:
            add_adversarial_gradients(
                self._embeddings[plan.task],
                self.parameters.values(),
                self.settings.adversarial,
                lambda: self._add_gradients(task, plan, batches, count or 1.0),
            )
        self._update(plan)
        return StepOutcome(plan.step, plan.task, loss, sum(map(len, plan.batches)), int(num_tokens))

    def _make_batches(self, task: Task, plan: StepPlan) -> list[TaskBatch]:
        rank, world = distributed.rank(), distributed.num_ranks()
        return [
            task.make_batch(
                positions[rank::world],
                np.random.default_rng(derive_seed(self.settings.seed, "batch", task.name, plan.step, index, rank)),
            )
            for index, positions in enumerate(plan.batches)
        ]

    def _add_gradients(self, task: Task, plan: StepPlan, batches: Sequence[TaskBatch], count: float) -> Tensor:
        """Add the gradients of this process's part of the step; return its sum of loss terms, without gradient."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for index, batch in enumerate(batches):
            torch.manual_seed(derive_seed(self.settings.seed, "forward", plan.step, index, distributed.rank()))
            with self._autocast():
                loss = self._loss(task, batch)
            objective = self.weights.scale(task.name) * loss.float() / count
            penalty = self.weights.penalty(task.name)
            if penalty is not None and index == 0 and distributed.rank() == 0:
                objective = objective + penalty
            self.scaler.scale(objective).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _loss(self, task: Task, batch: TaskBatch) -> Tensor:
        outputs = task.outputs(batch)
        if not self.settings.r_drop:
            return task.loss(outputs, batch)
        second = task.outputs(batch)
        mean = (task.loss(outputs, batch) + task.loss(second, batch)) / 2
        return mean + self.settings.r_drop * task.divergence(outputs, second, batch)

    def _autocast(self) -> AbstractContextManager[None]:
        name = self.settings.precision
        autocast: AbstractContextManager[None] = torch.autocast(
            self.device.type, DTYPES[name] if name != "float32" else None, enabled=name != "float32"
        )
        return autocast

    def _update(self, plan: StepPlan) -> None:
        parameters = list(self.parameters.values())
        distributed.add_gradients(parameters)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not self.scaler.is_enabled():  # which skips such a step and tries a smaller scale
            _check_finite(float(norm), "norm of the gradient", plan)
        if self.settings.optimizer.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.optimizer.clip_norm, norm)
        set_rates(self.optimizer, schedule_factor(plan.step, self.num_steps, self.settings.optimizer))
        self.scaler.step(self.optimizer)
        self.scaler.update()


def _check_finite(value: float, what: str, plan: StepPlan) -> None:
    if not np.isfinite(value):
        raise NonFiniteLossError(
            f"task {plan.task!r}, step {plan.step}: the {what} is {value}; the weights are as before this step. Look "
            f"for wrong labels among its examples {plan.batches[0][:5].tolist()}..., lower optimizer.learning_rate or "
            "optimizer.head_learning_rate, or set precision to float32; then resume or start over"
        )
