"""Everything that a run must remember to go on as if it had never stopped."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from recsys_batch.contracts.config.training import Loop
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.loop.checkpoints import Checkpoint, hash_tensors
from recsys_batch.training.loop.ema import MovingAverage
from recsys_batch.training.loop.steps import Learner
from recsys_batch.training.loop.task import Task

Weights = dict[str, Tensor]
_NOT_RESULTS = {"checkpoint_every", "keep_checkpoints"}


@dataclass(frozen=True)
class Evaluation:
    """Metrics after some steps, as `task.metric`."""

    step: int
    metrics: dict[str, float]


@dataclass
class Records:
    """What a run has seen so far; JSON can hold it."""

    losses: list[tuple[str, float]] = field(default_factory=list)
    """Task and mean loss of every step."""
    evaluations: list[Evaluation] = field(default_factory=list)
    best_step: int = -1
    best_value: float | None = None
    """The deciding metric at its best, as it is reported."""
    num_worse: int = 0
    """Evaluations since the best one."""
    num_examples: int = 0
    num_tokens: int = 0
    seconds: float = 0.0
    step_seconds: float = 0.0
    """Of `seconds`, those of steps alone."""


def live_weights(tasks: Sequence[Task], parameters: Mapping[str, nn.Parameter]) -> Weights:
    """Return what training changes, the tensors themselves: `parameters` and the buffers that the networks save."""
    weights: Weights = dict(parameters)
    seen: set[int] = set()
    for task in tasks:
        for name, tensor in task.module.state_dict(keep_vars=True).items():
            if isinstance(tensor, Tensor) and not isinstance(tensor, nn.Parameter) and id(tensor) not in seen:
                seen.add(id(tensor))
                weights[f"{task.name}.{name}"] = tensor
    return weights


def copy_weights(weights: Weights) -> Weights:
    """Return a copy that later steps leave alone."""
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


@torch.no_grad()
def set_weights(weights: Weights, values: Weights) -> None:
    """Copy `values` into the live `weights`."""
    for name, tensor in weights.items():
        tensor.copy_(values[name])


def describe_run(tasks: Sequence[Task], settings: Loop, weights: Weights, data_version: str) -> dict[str, str]:
    """Return what must be the same for a checkpoint to be continued, each part as a short text or hash."""
    learned = {id(tensor) for tensor in weights.values()}
    frozen = {
        f"{task.name}.{name}": tensor
        for task in tasks
        for name, tensor in task.module.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor) and id(tensor) not in learned
    }
    shapes = "\n".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(weights.items()))
    chosen = settings.model_dump(mode="json", exclude=_NOT_RESULTS)
    return {
        **{f"setting {name}": json.dumps(value) for name, value in chosen.items()},
        "numbers of training examples": str({task.name: len(task) for task in tasks}),
        "data version": data_version,
        "trained weights (names and shapes)": hashlib.sha256(shapes.encode()).hexdigest(),
        "frozen weights": hash_tensors(frozen),
    }


def check_same_run(checkpoint: Checkpoint, described: Mapping[str, str], folder: str) -> None:
    """Raise ConfigError naming what differs between a checkpoint's run and this one."""
    written = checkpoint.facts["run"]
    for what, value in described.items():
        if written.get(what) != value:
            raise ConfigError(
                f"the checkpoints in {folder} belong to another run: {what} differs, there {written.get(what)!r}, "
                f"here {value!r}; choose another folder, undo the change, or start over with resume=False"
            )


def save_state(
    learner: Learner, weights: Weights, average: MovingAverage | None, best: Weights | None, epoch_start: Weights | None
) -> Weights:
    """Return every tensor of the run under the name by which `load_state` finds it."""
    tensors = _prefix("weights", weights)
    for name, parameter in learner.parameters.items():
        tensors |= _prefix(f"optimizer/{name}", learner.optimizer.state.get(parameter, {}))
    for label, part in (("average", average.average if average else None), ("best", best), ("epoch", epoch_start)):
        tensors |= _prefix(label, part or {})
    return tensors


def load_state(
    tensors: Weights, learner: Learner, weights: Weights, average: MovingAverage | None
) -> tuple[Weights | None, Weights | None]:
    """Set weights, average and the optimizer's memory; return the best weights and those at the epoch's start."""
    set_weights(weights, _part("weights", tensors))
    for name, parameter in learner.parameters.items():
        memory: dict[str, Any] = _part(f"optimizer/{name}", tensors)
        if memory:
            # torch wants the count of steps beside the parameter too, as its fused AdamW makes it.
            learner.optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in memory.items()}
    if average:
        average.average = {name: value.to(learner.device) for name, value in _part("average", tensors).items()}
    return _part("best", tensors) or None, _part("epoch", tensors) or None


def _prefix(label: str, tensors: Mapping[str, Tensor]) -> Weights:
    return {f"{label}/{name}": tensor for name, tensor in tensors.items()}


def _part(label: str, tensors: Weights) -> Weights:
    prefix = f"{label}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
