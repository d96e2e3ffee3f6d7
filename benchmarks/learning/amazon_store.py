"""Results of `amazon.py` on disk, so that a run that was stopped goes on where it was."""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def key_of(made_by: dict[str, Any]) -> str:
    """Return a word that stands for these settings."""
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:8]


class Store:
    """A folder of results, each with what it was made by and how long that took."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is made where it is missing."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, name: str, made_by: dict[str, Any], make: Callable[[Path], float | None]) -> tuple[Path, float]:
        """Return the folder of a result and the seconds it took; `make` fills an empty one where there is none yet, and
        may return the seconds of an interrupted part that it went on from. Seconds of all threads are kept as well.
        """
        folder = self.folder / f"{name}-{key_of(made_by)}"
        told = folder / "made_by.json"
        if not told.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            started, cpu_started = time.monotonic(), time.process_time()
            earlier = make(folder) or 0.0
            content = {
                "seconds": earlier + time.monotonic() - started,
                "cpu_seconds_since_resumed": time.process_time() - cpu_started,
                **made_by,
            }
            told.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            cpu_seconds = content["cpu_seconds_since_resumed"]
            say(f"{folder.name}: {content['seconds']:.0f} s, of the processor {cpu_seconds:.0f} s")
        return folder, float(json.loads(told.read_text(encoding="utf-8"))["seconds"])


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)
