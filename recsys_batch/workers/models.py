"""The models of this worker process: loaded once, however many batches and tasks it serves."""

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from recsys_batch.contracts.worker_task import at_task_end, current_task
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.files.find import resolve_model
from recsys_batch.workers.devices import DeviceLocks, DeviceNotFoundError, find_device, list_devices, machine_folder

DEFAULT_CACHE_BYTES = 4096 * 2**20
Model = TypeVar("Model")
ModelKey = tuple[str, str, str]
"""Fingerprint, device, dtype."""


@dataclass
class ModelCache(Generic[Model]):
    """Loaded models, together at most as many bytes as each call allows; the least recently used ones go first."""

    num_loads: int = 0
    _models: OrderedDict[ModelKey, tuple[Model, int]] = field(default_factory=OrderedDict)

    @property
    def num_bytes(self) -> int:
        """Bytes of the models in the cache."""
        return sum(size for _, size in self._models.values())

    def get(self, key: ModelKey, num_bytes: int, max_bytes: int, load: Callable[[], Model]) -> Model:
        """Return the model of `key`, calling `load` where it is not here.

        `num_bytes` is the size of this model: others are dropped before it is loaded, until it fits in `max_bytes`
        with the rest. One that is larger than that is loaded alone.
        """
        if key not in self._models:
            while self._models and self.num_bytes + num_bytes > max_bytes:
                self._models.popitem(last=False)
            self._models[key] = load(), num_bytes
            self.num_loads += 1
        self._models.move_to_end(key)
        return self._models[key][0]


_ENCODERS: ModelCache[Encoder] = ModelCache()
_LOCKS = DeviceLocks(machine_folder())


def choose_device(configured: str, gpu_share: float = 1.0) -> str:
    """Return the torch device of this task.

    A device with a number (`cuda:1`) and `cpu` are taken as they are. Otherwise: the GPU that Spark assigned; where
    Spark manages none, one that no other process uses, for the time of this task; without any GPU, the CPU. With a
    `gpu_share` below 1 torch takes no more than that part of the device's memory.

    Raises DeviceNotFoundError where `cuda` is configured or Spark assigned a GPU, and torch has none.
    """
    import torch

    if configured not in ("auto", "cuda"):
        return configured
    addresses = current_task().gpu_addresses
    if not torch.cuda.is_available():
        if configured == "cuda" or addresses:
            assigned = ", ".join(addresses) or "(none)"
            raise DeviceNotFoundError(
                f"encoder.device is {configured!r} and Spark assigned GPU {assigned}, but torch {torch.__version__} "
                "sees no GPU on this machine; install torch with CUDA there, or set encoder.device to cpu"
            )
        return "cpu"
    visible, num_devices = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
    if addresses:
        index = find_device(addresses[0], visible, num_devices)
    else:
        index = _LOCKS.claim(list_devices(visible, num_devices), gpu_share)
        at_task_end(_LOCKS.release)
    if gpu_share < 1:
        torch.cuda.set_per_process_memory_fraction(gpu_share, index)
    return f"cuda:{index}"


def get_encoder(
    settings: EncoderSettings,
    device: str,
    num_threads: int,
    cache_folder: str = "",
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    gpu_share: float = 1.0,
) -> Encoder:
    """Return the encoder of these settings, loading it where this process does not have it, with `num_threads` set.

    `cache_folder`, a folder of this machine, keeps the largest safe batch from process to process; none where empty.
    `cache_bytes` bounds the models that the process holds at a time (see `ModelCache.get`).
    """
    import torch

    path = resolve_model(settings.model, settings.revision)
    place = choose_device(device, gpu_share)
    key = (settings.fingerprint(path), place, settings.dtype)
    folder = Path(cache_folder) if cache_folder else None
    # An earlier task of this process may have had another number of cores.
    torch.set_num_threads(num_threads)
    encoder = _ENCODERS.get(
        key,
        weight_bytes(settings, path),
        cache_bytes,
        lambda: Encoder.load(settings, path, place, num_threads, folder),
    )
    # It may have been loaded for a task that asked less of it.
    if encoder.agreement is not None:
        encoder.agreement.require(settings)
    return encoder


def weight_bytes(settings: EncoderSettings, path: Path) -> int:
    """Return the bytes that the model in directory `path` takes once loaded: its parameters in the settings' dtype.

    OpenVINO converts from float32 and keeps both. Reads headers alone.
    """
    from recsys_batch.nn.files.dtypes import DTYPES

    a_parameter = DTYPES[settings.dtype].itemsize + (4 if settings.backend != "torch" else 0)
    return count_parameters(path) * a_parameter


def count_parameters(path: Path) -> int:
    """Return the number of parameters in the weight files of directory `path`."""
    import math

    from safetensors import safe_open

    from recsys_batch.nn.files.check import weight_files

    total = 0
    for file in weight_files(path):
        with safe_open(file, "pt") as tensors:
            total += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total


def count_loads() -> int:
    """Return how many times this process has loaded a model."""
    return _ENCODERS.num_loads
