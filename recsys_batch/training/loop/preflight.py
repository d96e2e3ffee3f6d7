"""What can be known to be wrong before a training run takes its first step."""

from collections.abc import Sequence

from recsys_batch.contracts.config.training import Loop
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.training.loop import distributed
from recsys_batch.training.loop.task import Task


class EmptyTaskError(InputNotReadyError):
    """A task has no training examples."""


def check_before_start(tasks: Sequence[Task], settings: Loop, device: str) -> None:
    """Raise ConfigError where the settings do not fit the tasks or the device, EmptyTaskError where a task is empty."""
    names = [task.name for task in tasks]
    listed = ", ".join(sorted(names))
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"the tasks' names must be given and differ; they are: {listed or 'none'}")
    dotted = sorted(name for name in names if "." in name)
    if dotted:
        raise ConfigError(f"task names must have no dot, which separates them from metrics: {', '.join(dotted)}")
    for task in tasks:
        if len(task) < distributed.num_ranks():
            raise EmptyTaskError(
                f"task {task.name!r} has {len(task)} training examples for {distributed.num_ranks()} process(es); "
                "check its input and the filters before it, or leave the task out"
            )
    for setting, named in (("task_shares", settings.task_shares), ("task_weights", settings.task_weights)):
        unknown = sorted(set(named) - set(names))
        if unknown:
            raise ConfigError(f"{setting} names unknown tasks: {', '.join(unknown)}; the tasks are {listed}")
    task_name, _, metric = settings.metric.removeprefix("-").partition(".")
    if settings.metric and (task_name not in names or not metric):
        raise ConfigError(f"metric {settings.metric!r}: write TASK.METRIC with one of the tasks {listed}")
    if settings.precision == "float16" and not device.startswith("cuda"):
        raise ConfigError(f"precision float16 needs a GPU, and the device is {device}; use bfloat16 or float32")
