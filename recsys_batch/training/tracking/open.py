"""Where the curves of a run go: TensorBoard's files always, Weights & Biases and MLflow where the config says so.

A run that was killed and goes on continues its curves: what it learns again since its last checkpoint is shown once.
"""

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from recsys_batch.contracts.config.tracking import Tracking
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.rules.texts.redact import flatten_config, redact_text
from recsys_batch.training.loop import distributed
from recsys_batch.training.loop.run import Tracker
from recsys_batch.training.tracking.base import import_package
from recsys_batch.training.tracking.services import MLflowRun, WandbRun

log = logging.getLogger("recsys_batch.training")
_NAME = re.compile(r"^\w[\w.=+-]*$")


class Destination(Protocol):
    """One place that keeps curves."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep values after `step` steps, unless it has them already."""

    def close(self, failed: bool) -> None:
        """Write what is left; `failed`: the run ended by an error."""


class Trackers:
    """Gives everything to several trackers in turn; one may end the run by raising."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        """Keep the trackers in their order."""
        self._trackers = tuple(trackers)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Give values to each."""
        for tracker in self._trackers:
            tracker.log(step, values)


@contextmanager
def open_tracker(
    settings: Tracking, folder: Path, run_name: str, config: Mapping[str, object], *, resume: bool = True
) -> Iterator[Tracker]:
    """Give a tracker of the run `run_name`; files go below `folder`, `config` is shown beside the curves.

    TensorBoard reads `folder/tensorboard`. With `resume` the curves of an earlier part of the run in this folder go
    on; without, they begin anew. What looks like a secret in `config` is hidden. A service that fails while the run
    goes on is named once in the log and left out; the run does not end by it. In a process group only the first process
    writes.

    Raises ConfigError where a package is missing or the name is no file name, TrackingUnavailableError where a service
    cannot be opened.
    """
    if not _NAME.match(run_name):
        raise ConfigError(f"run name {run_name!r}: letters, digits, _ . = + and - only; it names a folder")
    if distributed.rank() > 0:
        yield Trackers(())
        return
    shown = flatten_config(config)
    with ExitStack() as stack:
        destinations: list[Tracker] = [_enter(stack, _TensorBoard(folder, run_name, shown, resume))]
        if settings.wandb.enabled:
            destinations.append(_enter(stack, WandbRun(settings.wandb, folder, run_name, shown, resume)))
        if settings.mlflow.enabled:
            destinations.append(_enter(stack, MLflowRun(settings.mlflow, folder, run_name, shown, resume)))
        yield Trackers(destinations)


class _TensorBoard:
    """Event files. They are opened at the first values, whose step says from where on older points are void."""

    def __init__(self, folder: Path, run_name: str, config: Mapping[str, object], resume: bool) -> None:
        self._summary_writer = import_package("torch.utils.tensorboard", "train", "training").SummaryWriter
        self._folder = folder / "tensorboard" / run_name
        self._config, self._resume = config, resume
        self._writer: Any = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None:
            self._writer = self._open(step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, failed: bool) -> None:  # noqa: ARG002 # event files know no outcome
        if self._writer is not None:
            self._writer.close()

    def _open(self, step: int) -> Any:
        earlier = [int(path.name.split(".")[3]) for path in self._folder.glob("events.out.tfevents.*")]
        goes_on = bool(earlier)
        if int(time.time()) in earlier:  # the files' order is that of their names, which hold whole seconds
            time.sleep(1)
        purge_step = (step if self._resume else 0) if goes_on else None
        writer = self._summary_writer(str(self._folder), purge_step=purge_step)
        if not (goes_on and self._resume):
            rows = [f"| {name} | {value} |" for name, value in self._config.items()]
            writer.add_text("config", "\n".join(["| setting | value |", "|---|---|", *rows]), 0)
        return writer


class _Guarded:
    """A destination whose failure is told once and does not end the run."""

    def __init__(self, destination: Destination) -> None:
        self._destination: Destination | None = destination
        self._errors: tuple[type[BaseException], ...] = (OSError, *getattr(destination, "errors", ()))
        self._name = type(destination).__name__.strip("_")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._destination is None:
            return
        try:
            self._destination.log(step, values)
        except self._errors as error:
            self._give_up(error)

    def close(self, failed: bool) -> None:
        if self._destination is None:
            return
        try:
            self._destination.close(failed)
        except self._errors as error:
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        self._destination = None
        log.warning("%s takes no more values, training goes on without it: %s", self._name, redact_text(str(error)))


def _enter(stack: ExitStack, destination: Destination) -> _Guarded:
    guarded = _Guarded(destination)
    stack.push(lambda kind, _error, _trace: guarded.close(kind is not None))
    return guarded
