"""The training run: steps, evaluations, checkpoints, and the best weights at the end."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from recsys_batch.contracts.config.training import Loop
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.loop import distributed
from recsys_batch.training.loop.checkpoints import Checkpoint, read_latest, remove_checkpoints, write_checkpoint
from recsys_batch.training.loop.ema import MovingAverage
from recsys_batch.training.loop.preflight import check_before_start
from recsys_batch.training.loop.progress import TrainingProgress
from recsys_batch.training.loop.run_state import (
    Evaluation,
    Records,
    Weights,
    check_same_run,
    copy_weights,
    describe_run,
    live_weights,
    load_state,
    save_state,
    set_weights,
)
from recsys_batch.training.loop.sampling import Sampler, derive_seed
from recsys_batch.training.loop.steps import Learner
from recsys_batch.training.loop.task import Task
from recsys_batch.training.loop.utilization import LinearWork


class Tracker(Protocol):
    """Where the curves of a run go."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep values (`loss/TASK`, `learning_rate`, `TASK.METRIC`) after `step` steps."""


@dataclass(frozen=True)
class TrainResult:
    """What a run did."""

    steps: int
    epochs: float
    """Times that all tasks could have gone around their examples."""
    best_metric: float | None
    """Value of `settings.metric` at its best; None where nothing was chosen by it."""
    best_step: int | None
    evaluations: tuple[Evaluation, ...]
    losses: tuple[tuple[str, float], ...]
    """Task and mean loss of every step."""
    seconds: float
    """Of epochs' preparation, steps and evaluations, over all the parts of an interrupted run."""
    tokens_per_second: float
    """While taking steps."""
    examples_per_second: float
    utilization: float | None
    """Arithmetic of the linear layers a second (one forward, two backward), as a share of what this device reaches on
    products of their shapes; None for runs of a few seconds, resumed ones, and networks without linear layers."""


def train(
    tasks: Sequence[Task],
    settings: Loop,
    folder: Path,
    *,
    device: str = "cpu",
    track: Tracker | None = None,
    resume: bool = True,
    data_version: str = "",
) -> TrainResult:
    """Train the tasks' networks in place, on `device`; they end with the best weights by `settings.metric`.

    Writes checkpoints under `folder`. With `resume` a run goes on from the newest one and ends, on a CPU, with the
    same weights bit by bit as one that was never interrupted; without, old checkpoints are removed. `data_version`
    says which examples these are: a checkpoint made from others is refused. Seeds torch's global generators.

    In a process group (see `distributed`) every process calls this with the same arguments but `device`, and `folder`
    is one that all of them see; the first process evaluates, logs and writes.

    Raises ConfigError for settings that do not fit the tasks or the checkpoint, EmptyTaskError, NonFiniteLossError,
    CheckpointFilesError where the newest checkpoint is damaged.
    """
    check_before_start(tasks, settings, device)
    run = _Run(tasks, settings, folder, torch.device(device), track, data_version)
    run.start(resume)
    with LinearWork([task.module for task in tasks]) as work:
        run.go_on()
    run.restore_best()
    return run.result(work)


class _Run:
    def __init__(
        self,
        tasks: Sequence[Task],
        settings: Loop,
        folder: Path,
        device: torch.device,
        track: Tracker | None,
        data_version: str,
    ) -> None:
        self.tasks, self.settings, self.folder, self.device = tasks, settings, folder, device
        self.track = track if distributed.rank() == 0 else None
        for task in tasks:
            task.module.to(device)
        self.sampler = Sampler({task.name: len(task) for task in tasks}, settings, distributed.num_ranks())
        self.learner = Learner(tasks, settings, device, self.sampler.num_steps)
        self.weights = live_weights(tasks, self.learner.parameters)
        distributed.copy_from_first(self.weights.values())
        self.average = MovingAverage(self.learner.parameters, settings.ema_decay) if settings.ema_decay else None
        self.described = describe_run(tasks, settings, self.weights, data_version)
        self.records = Records()
        self.best: Weights | None = None
        self.epoch_start: Weights | None = None
        self.first_step = 0

    def start(self, resume: bool) -> None:
        """Take up the newest checkpoint, or begin."""
        checkpoint = read_latest(self.folder) if resume else None
        if checkpoint:
            self._take_up(checkpoint)
        distributed.wait_for_all()
        if not checkpoint and distributed.rank() == 0:
            remove_checkpoints(self.folder)
        if not checkpoint and self.settings.metric:
            started = time.monotonic()
            self._evaluate(TrainingProgress(self.sampler.num_steps, 0, quiet=distributed.rank() > 0))
            self.records.seconds += time.monotonic() - started

    def go_on(self) -> None:
        """Take the remaining steps."""
        steps, per_epoch = self.sampler.num_steps, self.sampler.steps_per_epoch
        with TrainingProgress(steps, self.sampler.step, quiet=distributed.rank() > 0) as progress:
            while self.sampler.step < steps and not self._has_stopped():
                started = time.monotonic()
                if self.sampler.step % per_epoch == 0:
                    self._start_epoch()
                before = time.monotonic()
                self._learn(progress)
                self.records.step_seconds += time.monotonic() - before
                ends_epoch = self.sampler.step % per_epoch == 0 or self.sampler.step == steps
                if self._is_due(self.settings.evaluate_every, ends_epoch):
                    self._evaluate(progress)
                self.records.seconds += time.monotonic() - started
                if self._is_due(self.settings.checkpoint_every, ends_epoch) or self._has_stopped():
                    self._write()

    def restore_best(self) -> None:
        """Give the networks the weights that the run is about."""
        if self.best is not None:
            set_weights(self.weights, self.best)
        elif self.average:
            set_weights(self.learner.parameters, self.average.average)  # type: ignore[arg-type]
        for task in self.tasks:
            task.module.eval()

    def result(self, work: LinearWork) -> TrainResult:
        """Return what was done."""
        records = self.records
        seconds = max(records.step_seconds, 1e-9)
        utilization = work.utilization(self.device, self.settings.precision, seconds) if not self.first_step else None
        return TrainResult(
            steps=self.sampler.step,
            epochs=self.sampler.step / self.sampler.steps_per_epoch,
            best_metric=records.best_value,
            best_step=records.best_step if records.best_value is not None else None,
            evaluations=tuple(records.evaluations),
            losses=tuple(records.losses),
            seconds=records.seconds,
            tokens_per_second=records.num_tokens / seconds,
            examples_per_second=records.num_examples / seconds,
            utilization=utilization,
        )

    def _learn(self, progress: TrainingProgress) -> None:
        outcome = self.learner.learn(self.sampler.deal())
        done = self.sampler.step
        if self.average:
            self.average.update(done)
        self.records.losses.append((outcome.task, outcome.loss))
        self.records.num_examples += outcome.num_examples
        self.records.num_tokens += outcome.num_tokens
        progress.advance(done, outcome.loss, outcome.num_examples, outcome.num_tokens)
        if self.track:
            rate = self.learner.optimizer.param_groups[0]["lr"]
            self.track.log(done, {f"loss/{outcome.task}": outcome.loss, "learning_rate": rate})

    def _start_epoch(self) -> None:
        epoch = self.sampler.step // self.sampler.steps_per_epoch
        # What a task prepares from the weights can be prepared again only by those weights.
        self.epoch_start = copy_weights(self.weights) if self.settings.checkpoint_every else None
        torch.manual_seed(derive_seed(self.settings.seed, "epoch", epoch))
        for task in self.tasks:
            task.module.eval()
            task.start_epoch(epoch)
        for task in self.tasks:
            task.module.train()

    def _is_due(self, every: int, ends_epoch: bool) -> bool:
        last = self.sampler.step == self.sampler.num_steps
        return last or (self.sampler.step % every == 0 if every else ends_epoch)

    def _has_stopped(self) -> bool:
        return 0 < self.settings.patience <= self.records.num_worse

    def _evaluate(self, progress: TrainingProgress) -> None:
        if self.average is None:
            metrics = self._decide_best()
        else:
            with self.average.in_place():
                metrics = self._decide_best()
        done = self.sampler.step
        self.records.evaluations.append(Evaluation(done, metrics))
        progress.report_metrics(done, metrics, " (best so far)" if self.records.best_step == done else "")
        if self.track and metrics:
            self.track.log(done, metrics)

    def _decide_best(self) -> dict[str, float]:
        metrics: dict[str, float] = {}
        if distributed.rank() == 0:
            for task in self.tasks:
                task.module.eval()
            with torch.no_grad():
                metrics = {f"{t.name}.{name}": float(v) for t in self.tasks for name, v in t.evaluate().items()}
            for task in self.tasks:
                task.module.train()
        metrics = distributed.tell_all(metrics, self.device)
        if self.settings.metric:
            self._compare(metrics)
        return metrics

    def _compare(self, metrics: Mapping[str, float]) -> None:
        name = self.settings.metric.removeprefix("-")
        if name not in metrics:
            raise ConfigError(f"metric {name!r} is not measured; the tasks measure {', '.join(sorted(metrics))}")
        sign = -1 if self.settings.metric.startswith("-") else 1
        best = self.records.best_value
        if best is None or sign * metrics[name] > sign * best:
            self.records.best_value, self.records.best_step = metrics[name], self.sampler.step
            self.records.num_worse = 0
            self.best = copy_weights(self.weights)
        else:
            self.records.num_worse += 1

    def _write(self) -> None:
        if distributed.rank() == 0:
            inside_epoch = self.sampler.step % self.sampler.steps_per_epoch > 0
            tensors = save_state(
                self.learner, self.weights, self.average, self.best, self.epoch_start if inside_epoch else None
            )
            facts = {
                "run": self.described,
                "records": dataclasses.asdict(self.records),
                "scaler": self.learner.scaler.state_dict(),
            }
            write_checkpoint(self.folder, Checkpoint(self.sampler.step, tensors, facts), self.settings.keep_checkpoints)
        distributed.wait_for_all()

    def _take_up(self, checkpoint: Checkpoint) -> None:
        check_same_run(checkpoint, self.described, str(self.folder))
        best, epoch_start = load_state(checkpoint.tensors, self.learner, self.weights, self.average)
        records = checkpoint.facts["records"]
        self.records = Records(**{**records, "losses": [(task, loss) for task, loss in records["losses"]]})
        self.records.evaluations = [Evaluation(**row) for row in records["evaluations"]]
        self.learner.scaler.load_state_dict(checkpoint.facts["scaler"])
        self.best = best
        self.first_step = checkpoint.step
        if epoch_start is not None:
            now = copy_weights(self.weights)
            set_weights(self.weights, epoch_start)
            self.sampler.skip_to(checkpoint.step - checkpoint.step % self.sampler.steps_per_epoch)
            self._start_epoch()
            set_weights(self.weights, now)
        self.sampler.skip_to(checkpoint.step)
