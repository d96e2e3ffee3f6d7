"""What a worker task is, and what it may know of the place where it runs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True)
class TaskInfo:
    """The place of a running task: its partition, its attempt, the cores and accelerators it was given."""

    partition: int = 0
    attempt: int = 0
    cpus: int = 1
    gpu_addresses: tuple[str, ...] = ()
    """As Spark names them; none where Spark manages no accelerators."""


class WorkerTask(Protocol):
    """A frozen dataclass that maps record batches to record batches; runs on an executor, or on a list in a test."""

    @property
    def output_schema(self) -> pa.Schema:
        """Schema of the batches that the task yields."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Consume the batches of one partition."""


_CURRENT: ContextVar[TaskInfo] = ContextVar("current_task", default=TaskInfo())  # noqa: B039 - frozen


def enter_task(info: TaskInfo) -> None:
    """Record where the running task is; called once a task, before its first batch."""
    _CURRENT.set(info)


def current_task() -> TaskInfo:
    """Return where the running task is; the defaults outside of one."""
    return _CURRENT.get()


_AT_END: ContextVar[ExitStack | None] = ContextVar("at_task_end", default=None)


@contextmanager
def running_task(info: TaskInfo) -> Iterator[None]:
    """Be in the task while the block runs; then do what was left with `at_task_end`, the last thing first."""
    with ExitStack() as at_end:
        enter_task(info)
        _AT_END.set(at_end)
        try:
            yield
        finally:
            _AT_END.set(None)


def at_task_end(action: Callable[[], None]) -> None:
    """Have `action` done when the running task ends, however it ends; outside of a task it is never done."""
    at_end = _AT_END.get()
    if at_end is not None:
        at_end.callback(action)
