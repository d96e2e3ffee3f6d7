"""Which accelerator a task uses: the one that Spark gave it, else one that no other process of the machine uses.

Devices come in as numbers and names, so all but the question how many there are is tested without a GPU.
"""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recsys_batch.contracts.errors import ConfigError

log = logging.getLogger("recsys_batch.devices")

_SECONDS_BETWEEN_TRIES = 0.1
_SECONDS_BETWEEN_WARNINGS = 60.0


class DeviceNotFoundError(ConfigError):
    """A configured or assigned accelerator does not exist on the worker's machine."""


def list_devices(visible: str | None, num_devices: int) -> list[str]:
    """Return a name for each of the `num_devices` devices that the process sees, the same in every process.

    `visible` is the value of CUDA_VISIBLE_DEVICES, None where it is not set: device i of the process is the variable's
    i-th entry (a number of the machine's, or a UUID).
    """
    entries = [] if visible is None else [entry.strip() for entry in visible.split(",") if entry.strip()]
    return [entries[i] if i < len(entries) else str(i) for i in range(num_devices)]


def find_device(address: str, visible: str | None, num_devices: int) -> int:
    """Return the index, among the devices that the process sees, of the address that Spark assigned.

    A number is a position among the visible devices: with CUDA_VISIBLE_DEVICES=4,5 the address `1` is the machine's
    device 5, and there is no `5`. A UUID is found among the entries of the variable. Raises DeviceNotFoundError for an
    address that leads to no visible device.
    """
    names = list_devices(visible, num_devices)
    if address.isdecimal() and int(address) < num_devices:
        return int(address)
    if not address.isdecimal() and address in names:
        return names.index(address)
    seen = "is not set" if visible is None else f"is {visible!r}"
    raise DeviceNotFoundError(
        f"GPU address {address!r}, which Spark assigned, is none of the {num_devices} device(s) that the worker sees "
        f"(CUDA_VISIBLE_DEVICES {seen}); spark.executor.resource.gpu.discoveryScript must list positions among the "
        "visible devices, starting at 0"
    )


@dataclass
class DeviceLocks:
    """One lock file a device (and a slot of it, where shares are allowed), below a folder of this machine.

    The kernel frees a lock when its process ends, so a killed worker leaves none behind.
    """

    folder: Path
    _held: dict[str, int] = field(default_factory=dict)
    _last: str = ""

    def claim(self, names: Sequence[str], share: float, wait: Callable[[float], None] = time.sleep) -> int:
        """Return the index in `names` of a device that is free, waiting until one is; what is held already is kept.

        With a `share` below 1 as many processes use a device as shares fit into it. The device that this process had
        last comes first, as its model is there.
        """
        for index, name in enumerate(names):
            if name in self._held:
                return index
        order = sorted(range(len(names)), key=lambda index: names[index] != self._last)
        waited = 0.0
        while True:
            for index in order:
                if self._lock(names[index], share):
                    return index
            if waited % _SECONDS_BETWEEN_WARNINGS < _SECONDS_BETWEEN_TRIES:
                log.warning("waiting for one of %d GPU(s), all in use; their lock files: %s", len(names), self.folder)
            wait(_SECONDS_BETWEEN_TRIES)
            waited += _SECONDS_BETWEEN_TRIES

    def release(self) -> None:
        """Free what this process holds."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _lock(self, name: str, share: float) -> bool:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for slot in range(count_slots(share)):
            path = self.folder / f"gpu-{name.replace('/', '_')}.{slot}.lock"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            self._held[name], self._last = descriptor, name
            return True
        return False


def count_slots(share: float) -> int:
    """Return how many tasks of this share fit on one device, at least one."""
    return max(1, int(1 / share + 1e-9))


def machine_folder() -> Path:
    """Return this user's folder for lock files on this machine."""
    return Path(tempfile.gettempdir()) / f"recsys-batch-{os.getuid()}"
