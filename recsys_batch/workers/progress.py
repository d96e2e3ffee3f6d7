"""Progress and counters of a running task, in a small file that the driver reads while the stage runs.

Spark reports accumulators only when a task ends, and one encoding task may run for an hour.
"""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recsys_batch.contracts.filesystem import open_folder
from recsys_batch.contracts.worker_task import current_task

_SECONDS_BETWEEN_WRITES = 2.0


def worker_id() -> str:
    """Return the name of this worker process: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass
class ProgressFile:
    """Writes `{rows, seconds, ...}` of this task to `<folder>/<partition>.json`; a retried task overwrites its own."""

    folder: str
    rows: int = 0
    counters: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    _written: float = 0.0

    def advance(self, rows: int, **counters: float) -> None:
        """Add to the row count, set the counters, and write where the last write is some seconds past."""
        self.rows += rows
        self.counters.update(counters)
        if time.monotonic() - self._written >= _SECONDS_BETWEEN_WRITES:
            self.write()

    def write(self) -> None:
        """Write the file now."""
        self._written = time.monotonic()
        state = {"rows": self.rows, "seconds": self._written - self._started, "worker": worker_id(), **self.counters}
        system, folder = open_folder(self.folder)
        system.create_dir(folder, recursive=True)
        name = f"{folder}/{current_task().partition:05d}.json"
        # A reader must never see half a file, so it is moved into place.
        with system.open_output_stream(f"{name}.part") as stream:
            stream.write(json.dumps(state).encode())
        system.move(f"{name}.part", name)


_SUMMED = ("texts", "tokens", "without_vector", "retried", "out_of_memory", "model_loads")


def summarize(states: Sequence[Mapping[str, float | str]]) -> dict[str, float]:
    """Return the throughput of an encoding stage from the last states of its tasks.

    Sums of the counters, and where tokens were encoded: `padded_share` of the tokens that attention saw,
    `unknown_share` of those that the vocabulary has no piece for,
    `texts_per_second` and `tokens_per_second` of a worker's encoding time, `flops_per_second` (useful ones) and, over
    the tasks long enough to have measured it, `utilization` of the rate that matrix products reach on the machine.
    """

    def total(name: str, chosen: Sequence[Mapping[str, float | str]] = states) -> float:
        return sum(float(state.get(name, 0)) for state in chosen)

    made = {name: total(name) for name in _SUMMED}
    if not total("slots") or not total("encode_seconds"):
        return made
    made["padded_share"] = 1 - total("tokens") / total("slots")
    made["unknown_share"] = total("unknown") / max(total("tokens"), 1)
    for name, unit in (("texts_per_second", "texts"), ("tokens_per_second", "tokens"), ("flops_per_second", "flops")):
        made[name] = total(unit) / total("encode_seconds")
    measured = [state for state in states if float(state.get("gemm_flops", 0))]
    if measured:
        made["utilization"] = total("flops", measured) / total("gemm_flops", measured)
    return made
