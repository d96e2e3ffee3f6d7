"""Texts to vectors: one model, loaded once, run over token-budget batches; results in the caller's order.

Knows nothing of tables, caches or processes: strings in, a float32 array out.
"""

import hashlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys_batch.nn.backbone import Backbone, load_backbone
from recsys_batch.nn.batching import Batch, length_ladder, plan_batches
from recsys_batch.nn.model_files import fingerprint_model
from recsys_batch.nn.models import resolve_model
from recsys_batch.nn.pooling import PoolingName, pool, read_pooling
from recsys_batch.nn.threads import side_by_side
from recsys_batch.nn.tokenizing import Tokenizer

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CPU_BATCH_BYTES_A_COLUMN = 8192
_FINGERPRINT_VERSION = "encoder-1"


@dataclass(frozen=True)
class EncoderSettings:
    """What determines a vector besides its text, and how much is run at once."""

    model: str
    """A directory, `package:NAME`, or a hub id (see `resolve_model`)."""
    revision: str | None = None
    """Commit of a hub id."""
    max_tokens: int = 128
    """Longer texts are cut to this many tokens, special tokens included."""
    token_budget: int = 8192
    """Most padded tokens in one forward pass; changes speed and memory, never a vector."""
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    """`auto` follows the model's 1_Pooling/config.json, else mean."""
    normalize: bool = True
    """Scale vectors to length 1."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the network; vectors come out as float32 always."""
    query_prefix: str = ""
    """Put before every query, as the model was trained."""
    document_prefix: str = ""
    """Put before every document."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range, naming field and value."""
        if self.max_tokens < 1 or self.token_budget < 1:
            raise ValueError(
                f"max_tokens ({self.max_tokens}) and token_budget ({self.token_budget}) must be at least 1"
            )
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, not {self.dtype!r}")
        if self.pooling not in ("auto", "mean", "cls", "last"):
            raise ValueError(f"pooling must be auto, mean, cls or last, not {self.pooling!r}")

    def fingerprint(self, path: Path) -> str:
        """Return a sha256 (64 hex digits) of everything that changes a vector, for the model files in directory `path`.

        The model counts by its bytes, not by its name; `token_budget` does not count.
        """
        settings = asdict(self)
        for name in ("model", "revision", "token_budget"):
            del settings[name]
        settings["pooling"] = _pooling_of(self, path)
        parts = [
            _FINGERPRINT_VERSION,
            fingerprint_model(path),
            *(f"{key}={settings[key]!r}" for key in sorted(settings)),
        ]
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class EncoderStats:
    """What an encoder has done since it was loaded."""

    texts: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    batches: int = 0
    out_of_memory: int = 0
    seconds: float = 0.0


class Encoder:
    """A loaded model. Not thread-safe: one encoder belongs to one worker."""

    def __init__(
        self,
        settings: EncoderSettings,
        tokenizer: Tokenizer,
        backbone: Backbone,
        pooling: PoolingName,
        fingerprint: str,
        device: str = "cpu",
    ) -> None:
        """Join loaded parts; use `Encoder.load`."""
        self.settings = settings
        self.fingerprint = fingerprint
        self.stats = EncoderStats()
        self._stats_lock = threading.Lock()
        self._tokenizer = tokenizer
        self._backbone = backbone
        self._pooling = pooling
        self._device = device
        self._budget = settings.token_budget
        if device == "cpu":
            self._budget = min(self._budget, _CPU_BATCH_BYTES_A_COLUMN // _DTYPES[settings.dtype].itemsize)
        self._ladder = length_ladder(settings.max_tokens)

    @classmethod
    def load(
        cls, settings: EncoderSettings, path: Path | None = None, device: str = "cpu", num_threads: int | None = None
    ) -> "Encoder":
        """Check the files, then load tokenizer and weights; `path` saves looking up `settings.model` again.

        `num_threads` sets torch's threads for the whole process. On the CPU a batch stays within the processor's cache
        (2,048 tokens in float32, 4,096 in half precision) even where `token_budget` is larger.

        Raises ModelNotFoundError, ModelFilesError, and ValueError where `max_tokens` exceeds the model's positions.
        """
        if num_threads is not None:
            torch.set_num_threads(num_threads)
            os.environ.setdefault("RAYON_NUM_THREADS", str(num_threads))
        path = resolve_model(settings.model, settings.revision) if path is None else path
        backbone = load_backbone(path, device, _DTYPES[settings.dtype])
        if settings.max_tokens > backbone.max_positions:
            raise ValueError(
                f"max_tokens {settings.max_tokens} exceeds the {backbone.max_positions} positions of {path}"
            )
        pooling = _pooling_of(settings, path)
        return cls(
            settings, Tokenizer(path, settings.max_tokens), backbone, pooling, settings.fingerprint(path), device
        )

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._backbone.dim

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 vectors (len(texts), dim) of documents, each text preceded by the document prefix."""
        return self.encode(texts, self.settings.document_prefix)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 vectors (len(texts), dim) of queries, each text preceded by the query prefix."""
        return self.encode(texts, self.settings.query_prefix)

    def encode(self, texts: Sequence[str], prefix: str = "") -> NDArray[np.float32]:
        """Return float32 vectors (len(texts), dim) in the order of `texts`; an empty list gives (0, dim).

        Lone surrogates count as U+FFFD. Raises TypeError for anything but strings, and torch.OutOfMemoryError only
        where a single text does not fit.
        """
        started = time.perf_counter()
        ids = self._tokenizer.ids([prefix + text for text in texts] if prefix else texts)
        lengths_N = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        vectors_ND = np.empty((len(ids), self.dim), dtype=np.float32)
        batches = plan_batches(lengths_N, self._budget, self._ladder)
        num_threads = torch.get_num_threads() if self._device == "cpu" else 1
        with side_by_side(num_threads if len(batches) >= 2 * num_threads else 1) as start:
            start([partial(self._fill, vectors_ND, batch, ids, lengths_N) for batch in batches])()
        self.stats.texts += len(ids)
        self.stats.seconds += time.perf_counter() - started
        return vectors_ND

    def _fill(
        self, vectors_ND: NDArray[np.float32], batch: Batch, ids: list[list[int]], lengths_N: NDArray[np.int64]
    ) -> None:
        """Put the batch's vectors into their rows; halve the batch where it is over the budget or memory runs out."""
        num_texts = len(batch.indices)
        num_slots = num_texts * batch.padded_length
        if num_texts == 1 or num_slots <= self._budget:
            try:
                vectors_ND[batch.indices] = self._run(batch, ids, lengths_N)
            except (RuntimeError, MemoryError) as error:
                if num_texts == 1 or not _is_out_of_memory(error):
                    raise
                self._remember_ceiling(num_slots)
            else:
                return
        for half in _halves(batch):
            self._fill(vectors_ND, half, ids, lengths_N)

    def _run(self, batch: Batch, ids: list[list[int]], lengths_N: NDArray[np.int64]) -> NDArray[np.float32]:
        lengths_B = torch.from_numpy(lengths_N[batch.indices])
        ids_T = torch.from_numpy(np.concatenate([np.asarray(ids[index], dtype=np.int64) for index in batch.indices]))
        with torch.inference_mode():
            hidden_TH = self._backbone.hidden(ids_T, lengths_B, batch.padded_length)
            vectors_BD: Tensor = pool(hidden_TH, lengths_B, self._pooling)
            if self.settings.normalize:
                vectors_BD = torch.nn.functional.normalize(vectors_BD, dim=1)
        with self._stats_lock:
            self.stats.batches += 1
            self.stats.tokens += int(ids_T.shape[0])
            self.stats.padded_tokens += len(batch.indices) * batch.padded_length
        result: NDArray[np.float32] = vectors_BD.cpu().numpy()
        return result

    def _remember_ceiling(self, failed_tokens: int) -> None:
        with self._stats_lock:
            self._budget = max(1, min(self._budget, failed_tokens // 2))
            self.stats.out_of_memory += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _pooling_of(settings: EncoderSettings, path: Path) -> PoolingName:
    return read_pooling(path) if settings.pooling == "auto" else settings.pooling


def _halves(batch: Batch) -> list[Batch]:
    middle = (len(batch.indices) + 1) // 2
    return [Batch(batch.indices[middle:], batch.padded_length), Batch(batch.indices[:middle], batch.padded_length)]


def _is_out_of_memory(error: Exception) -> bool:
    message = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        sign in message for sign in ("out of memory", "can't allocate memory", "failed to allocate")
    )
