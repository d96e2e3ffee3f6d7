"""Shows how far a stage is, from the files that its tasks write: a bar in a terminal, plain log lines elsewhere.

Of a stage whose tasks write no such files it says every half minute what it is making.
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as pafs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recsys_batch.contracts.filesystem import open_folder

log = logging.getLogger("recsys_batch.progress")
_POLL_SECONDS = 1.0
_LOG_SECONDS = 15.0
_TICK_SECONDS = 30.0


def read_progress(folder: str) -> list[dict[str, float | str]]:
    """Return the last state of every task that wrote to `folder` (workers.progress.ProgressFile)."""
    system, path = open_folder(folder)
    files = system.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    states = []
    for file in files:
        if file.path.endswith(".json"):
            with system.open_input_stream(file.path) as stream:
                states.append(json.loads(stream.read()))
    return states


def count_model_loads(states: list[dict[str, float | str]]) -> int:
    """Return how many models the tasks had to load; a task that finds its worker's model loaded reports none."""
    return sum(int(state.get("model_loads", 0)) for state in states)


@contextmanager
def watch(folder: str, label: str, total: int) -> Iterator[None]:
    """Show the progress of `total` rows while the block runs."""
    done = threading.Event()
    follow = _draw if in_terminal() else _log_lines
    thread = threading.Thread(target=follow, args=(folder, label, total, done), daemon=True, name=f"progress-{label}")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5)


class Ticker:
    """Tells of steps that take long that they are still at work."""

    def __init__(self) -> None:
        """Begin with no step."""
        self._step, self._began = "", time.monotonic()

    def begin(self, step: str) -> None:
        """Note what is being made from now on, such as `writing items`."""
        self._step, self._began = step, time.monotonic()

    @contextmanager
    def ticking(self, label: str, state: Callable[[], str], every: float = _TICK_SECONDS) -> Iterator[None]:
        """Log a line whenever a step of the block has taken `every` seconds more; `state` says how far it is."""
        self.begin("")
        done = threading.Event()
        thread = threading.Thread(target=self._tick, args=(label, state, every, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(timeout=5)

    def _tick(self, label: str, state: Callable[[], str], every: float, done: threading.Event) -> None:
        told = self._began
        while not done.wait(max(told + every - time.monotonic(), 0.0)):
            step, began = self._step, self._began
            if began > told:  # another step than the one waited for
                told = began
                continue
            told = time.monotonic()
            seconds = told - began
            try:
                how_far = state()
            except Exception:  # it only tells
                log.debug("no state of %s", label, exc_info=True)
                how_far = ""
            log.info("%s: %s", label, ", ".join(part for part in (step, f"{seconds:,.0f} s so far", how_far) if part))


def in_terminal() -> bool:
    """Whether a person watches: under `spark-submit` our output is a pipe, so its own is asked about."""
    if sys.stderr.isatty():
        return True
    try:
        return str(Path(f"/proc/{os.getppid()}/fd/1").resolve()).startswith(("/dev/pts/", "/dev/tty"))
    except OSError:  # the parent is another user's, as in a container: nobody is watching
        return False


def open_console() -> Console:
    """Return the console for tables: colored in a terminal, wide enough for a log elsewhere."""
    return Console(force_terminal=True) if in_terminal() else Console(width=140)


def _rows(folder: str) -> int:
    return int(sum(float(state["rows"]) for state in read_progress(folder)))


def _draw(folder: str, label: str, total: int, done: threading.Event) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=open_console(), transient=True) as bar:
        task = bar.add_task(label, total=total, rate="")
        started = time.monotonic()
        while not done.wait(_POLL_SECONDS):
            rows = _rows(folder)
            bar.update(task, completed=rows, rate=f"{rows / (time.monotonic() - started):,.0f}/s")


def _log_lines(folder: str, label: str, total: int, done: threading.Event) -> None:
    started = time.monotonic()
    while not done.wait(_LOG_SECONDS):
        rows = _rows(folder)
        rate = rows / (time.monotonic() - started)
        left = f"{(total - rows) / rate:,.0f} s left" if rate > 0 else "starting"
        log.info("%s: %s of %s rows, %.0f rows/s, %s", label, f"{rows:,}", f"{total:,}", rate, left)
