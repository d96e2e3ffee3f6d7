"""The largest safe batch by model, device and number format, remembered from process to process in a small file."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

_FILE_NAME = "batch_ceilings.json"


@dataclass(frozen=True)
class CeilingFile:
    """Padded tokens that fit in one forward pass, by key, in a folder of this machine; without a folder, nothing."""

    folder: Path | None
    key: str
    """Model fingerprint, device and dtype in one string."""

    def read(self) -> int | None:
        """Return what was remembered; None where nothing was, or the file is unreadable (it is only a hint)."""
        ceiling = self._all().get(self.key)
        return ceiling if isinstance(ceiling, int) and ceiling > 0 else None

    def lower(self, ceiling: int) -> None:
        """Remember a ceiling unless a lower one is there. Two processes may write at once; the later write wins."""
        if self.folder is None or (self.read() or ceiling + 1) <= ceiling:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {**self._all(), self.key: ceiling}
        # A reader must never see half a file, so it is moved into place.
        part = self.folder / f"{_FILE_NAME}.{os.getpid()}.part"
        part.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
        part.replace(self.folder / _FILE_NAME)

    def _all(self) -> dict[str, object]:
        if self.folder is None:
            return {}
        try:
            content = json.loads((self.folder / _FILE_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
