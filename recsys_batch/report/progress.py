"""Shows how far a stage is, from the files that its tasks write: a bar in a terminal, plain log lines elsewhere."""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as pafs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recsys_batch.contracts.filesystem import open_folder

log = logging.getLogger("recsys_batch.progress")
_POLL_SECONDS = 1.0
_LOG_SECONDS = 15.0


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
