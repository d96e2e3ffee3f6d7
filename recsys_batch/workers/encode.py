"""Encodes texts: one worker's share of the embedding table."""

import logging
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import NoReturn

import numpy as np
import pyarrow as pa

from recsys_batch.contracts.schemas import VECTORS
from recsys_batch.contracts.worker_task import current_task
from recsys_batch.nn.encoder.encoder import Encoded, Encoder, EncoderSettings, EncoderStats
from recsys_batch.nn.encoder.failures import describe, is_device_failure
from recsys_batch.workers.models import DEFAULT_CACHE_BYTES, count_loads, get_encoder
from recsys_batch.workers.progress import ProgressFile
from recsys_batch.workers.ragged import to_vector_array, windows

log = logging.getLogger("recsys_batch.encode")

# Texts sorted by length together: enough that padding is small, few enough that progress shows.
_WINDOW = 2048
# Measuring the machine takes a fifth of a second, which only a task of some length is worth.
_SECONDS_WORTH_MEASURING = 5.0
EXIT_DEVICE_FAILED = 70


@dataclass(frozen=True)
class EncodeTexts:
    """(text_key, text) -> (text_key, vector, reason), in the order of the input.

    Every row has either a vector or, where its text cannot be encoded, a reason and no vector.
    """

    settings: EncoderSettings
    kind: str
    """`document` or `query`: which prefix applies."""
    device: str
    num_threads: int
    """Torch threads; 0: as many as the task has cpus."""
    progress_folder: str
    cache_folder: str = ""
    """Folder of each machine that keeps the largest safe batch; none where empty."""
    cache_bytes: int = DEFAULT_CACHE_BYTES
    """Models that a worker process keeps loaded, in bytes of parameters; 0: one at a time."""
    gpu_share: float = 1.0
    """Part of a GPU that one task has: below 1, tasks share it, and its memory."""
    output_schema: pa.Schema = field(default=VECTORS, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Encode the partition's texts a window at a time; a partition without rows loads no model."""
        progress = ProgressFile(self.progress_folder)
        keys: deque[pa.Array] = deque()

        def texts_of(window: pa.RecordBatch) -> list[str | None]:
            keys.append(window.column("text_key"))
            texts: list[str | None] = window.column("text").to_pylist()
            return texts

        given = windows(batches, _WINDOW)
        first = next(given, None)
        if first is not None:
            loads_before = count_loads()
            with ending_on_device_failure():
                encoder = get_encoder(
                    self.settings,
                    self.device,
                    self.num_threads or current_task().cpus,
                    self.cache_folder,
                    self.cache_bytes,
                    self.gpu_share,
                )
            counted = Counters(encoder, count_loads() - loads_before)
            prefix = encoder.prefix("query" if self.kind == "query" else "document")
            all_texts = (texts_of(window) for window in chain([first], given))
            with ending_on_device_failure():
                for encoded in encoder.encode_windows(all_texts, prefix):
                    text_keys = keys.popleft()
                    yield pa.record_batch([text_keys, *_to_columns(encoded)], schema=VECTORS)
                    progress.advance(len(text_keys), **counted.read())
                progress.advance(0, **counted.read(), **counted.measure())
        progress.write()


class Counters:
    """What one task has done with an encoder that serves many, for its progress file (`progress.summarize`)."""

    def __init__(self, encoder: Encoder, model_loads: int) -> None:
        """Start to count now."""
        self._encoder = encoder
        self._before = EncoderStats(**vars(encoder.stats))
        self._model_loads = model_loads

    def read(self) -> dict[str, float]:
        """Return the counters so far: those of `EncoderStats`, and `model_loads`."""
        before, now = vars(self._before), vars(self._encoder.stats)
        done = {name: float(now[name] - before[name]) for name in now}
        # `seconds` is the task's own time in the progress file.
        return {"model_loads": self._model_loads, "encode_seconds": done.pop("seconds"), **done}

    def measure(self) -> dict[str, float]:
        """Return `gemm_flops`, what the machine could do in the time spent encoding; nothing after a short time."""
        seconds = self.read()["encode_seconds"]
        if seconds < _SECONDS_WORTH_MEASURING:
            return {}
        return {"gemm_flops": self._encoder.measure_gemm_rate() * seconds}


def _to_columns(encoded: Encoded) -> tuple[pa.Array, pa.Array]:
    """Return the columns vector and reason; one of the two is null in every row."""
    num_rows = len(encoded.vectors_ND)
    reasons = pa.array([encoded.reasons.get(row) for row in range(num_rows)], pa.string())
    vectors = to_vector_array(encoded.vectors_ND)
    if not encoded.reasons:
        return vectors, reasons
    rows = np.arange(num_rows, dtype=np.int32)
    kept = pa.array(rows, mask=np.isin(rows, list(encoded.reasons)))
    return vectors.take(kept), reasons


@contextmanager
def ending_on_device_failure() -> Iterator[None]:
    """End this worker process where the accelerator broke, so that Spark retries the task in a fresh one.

    After a CUDA error every later call in the process fails; Spark would reuse the worker for the retry.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_device_failure(error):
            raise
        _end_process(error)


def _end_process(error: RuntimeError) -> NoReturn:
    info = current_task()
    log.critical(
        "partition %d, attempt %d: the device failed (%s); worker process %d ends so that a fresh one retries",
        info.partition,
        info.attempt,
        describe(error),
        os.getpid(),
    )
    logging.shutdown()
    os._exit(EXIT_DEVICE_FAILED)
