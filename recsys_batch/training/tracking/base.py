"""What every service that keeps curves needs: its package, what a resumed run must know, the error of its absence."""

import json
from pathlib import Path
from typing import Any

from recsys_batch.contracts.errors import ConfigError, RecsysBatchError


class TrackingUnavailableError(RecsysBatchError):
    """A tracking service that the config names cannot be reached, or refuses; a later retry may find it."""


def import_package(name: str, extra: str, setting: str) -> Any:
    """Return the package. Raises ConfigError naming the extra to install and the setting that asked for it."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{setting} needs the package {name!r} ({error}); install recsys-batch[{extra}], or switch it off"
        ) from error


class ResumeFile:
    """What a service's run must know when the training run goes on; JSON below the folder."""

    def __init__(self, folder: Path, service: str, run_name: str, resume: bool) -> None:
        """Read what an earlier part left, where the run goes on."""
        self._file = folder / service / f"{run_name}.resume.json"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self.content: dict[str, Any] = {}
        if resume and self._file.is_file():
            self.content = json.loads(self._file.read_text(encoding="utf-8"))

    def write(self) -> None:
        """Replace the file; a kill leaves the old one or the new one."""
        staged = self._file.with_suffix(".staged")
        staged.write_text(json.dumps(self.content), encoding="utf-8")
        staged.replace(self._file)
