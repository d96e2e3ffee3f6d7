"""The models of this worker process: loaded once, however many batches and tasks it serves."""

from collections import Counter
from pathlib import Path

from recsys_batch.contracts.task import current_task
from recsys_batch.nn.encoder import Encoder, EncoderSettings
from recsys_batch.nn.models import resolve_model

_ENCODERS: dict[tuple[str, str, str], Encoder] = {}
_LOADS: Counter[str] = Counter()


def choose_device(configured: str) -> str:
    """Return the torch device of this task: the accelerator that Spark assigned, the first one there is, or the CPU."""
    import torch

    if configured != "auto":
        return configured
    if not torch.cuda.is_available():
        return "cpu"
    addresses = current_task().gpu_addresses
    return f"cuda:{addresses[0]}" if addresses else "cuda:0"


def get_encoder(settings: EncoderSettings, device: str, num_threads: int, cache_folder: str = "") -> Encoder:
    """Return the encoder of these settings, loading it at its first use in this process.

    `cache_folder`, a folder of this machine, keeps the largest safe batch from process to process; none where empty.
    """
    path = resolve_model(settings.model, settings.revision)
    place = choose_device(device)
    key = (settings.fingerprint(path), place, settings.dtype)
    if key not in _ENCODERS:
        folder = Path(cache_folder) if cache_folder else None
        _ENCODERS[key] = Encoder.load(settings, path, place, num_threads, folder)
        _LOADS[key[0]] += 1
    return _ENCODERS[key]


def count_loads() -> int:
    """Return how many times this process has loaded a model."""
    return sum(_LOADS.values())
