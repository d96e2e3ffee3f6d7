"""Texts to vectors: one model, loaded once, run over token-budget batches; results in the caller's order.

Knows nothing of tables, caches or processes: strings in, a float32 array out. A text that cannot be encoded costs
nobody else's vector: it comes back with a reason.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys_batch.nn.backbones.flops import measure_gemm_rate
from recsys_batch.nn.backbones.load import Backbone, load_backbone
from recsys_batch.nn.encoder.agreement import Agreement, measure_agreement
from recsys_batch.nn.encoder.batching import Batch, halve, length_ladder, plan_batches
from recsys_batch.nn.encoder.budget import choose_budget, name_device
from recsys_batch.nn.encoder.ceilings import CeilingFile
from recsys_batch.nn.encoder.encoded import Encoded, Window
from recsys_batch.nn.encoder.failures import describe, is_isolatable, is_out_of_memory, let_go
from recsys_batch.nn.encoder.pooling import pool
from recsys_batch.nn.encoder.process import tune_process
from recsys_batch.nn.encoder.prompts import Kind
from recsys_batch.nn.encoder.settings import EncoderSettings
from recsys_batch.nn.encoder.stats import EncoderStats
from recsys_batch.nn.encoder.tokenizing import Tokenizer
from recsys_batch.nn.files.dtypes import DTYPES
from recsys_batch.nn.files.find import resolve_model
from recsys_batch.nn.threads import side_by_side

__all__ = ["Encoded", "Encoder", "EncoderSettings", "EncoderStats"]

_TOO_FEW_TO_BLAME_THE_MODEL = 3


class Encoder:
    """A loaded model. Not thread-safe: one encoder belongs to one worker."""

    def __init__(
        self, settings: EncoderSettings, path: Path, device: str = "cpu", cache_folder: Path | None = None
    ) -> None:
        """Load from the directory `path`; `Encoder.load` also looks it up and sets threads."""
        self.settings = settings
        self.device = device
        self.stats = EncoderStats()
        self.fingerprint = settings.fingerprint(path)
        self._path = path
        self._stats_lock = threading.Lock()
        self._dtype = DTYPES[settings.dtype]
        self._backbone = load_backbone(path, device, self._dtype, settings.backend)
        self._exact: Backbone | None = None
        if settings.max_tokens > self._backbone.max_positions:
            raise ValueError(
                f"max_tokens {settings.max_tokens} exceeds the {self._backbone.max_positions} positions of {path}"
            )
        if settings.dimensions > self._backbone.dim:
            raise ValueError(f"dimensions {settings.dimensions} exceeds the {self._backbone.dim} of {path}")
        self._pooling = settings.pooling_of(path)
        self._tokenizer = Tokenizer(path, settings.max_tokens)
        self._ladder = length_ladder(settings.max_tokens)
        self._ceilings = CeilingFile(cache_folder, f"{self.fingerprint} {name_device(device)} {settings.dtype}")
        budget = choose_budget(settings.token_budget, device, self._dtype, self._backbone.dim)
        self._budget = min(budget, self._ceilings.read() or budget)
        self.agreement: Agreement | None = None
        """How near int8 vectors are to float32's; None for other backends."""
        if settings.backend == "openvino_int8":
            self.agreement = self._compare_with_float32()
            self.agreement.require(settings)

    @classmethod
    def load(
        cls,
        settings: EncoderSettings,
        path: Path | None = None,
        device: str = "cpu",
        num_threads: int | None = None,
        cache_folder: Path | None = None,
    ) -> "Encoder":
        """Check the files, then load tokenizer and weights; `path` saves looking up `settings.model` again.

        `num_threads` sets torch's threads for the whole process; on the CPU the process's memory is set to be kept
        (`tune_process`). `cache_folder`, on this machine, keeps the largest safe batch from process to process.

        Raises ModelNotFoundError, ModelFilesError, ValueError where `max_tokens` exceeds the model's positions, and
        CosineTooLowError where int8 vectors are farther from float32's than `min_cosine` allows.
        """
        if num_threads is not None:
            torch.set_num_threads(num_threads)
            os.environ.setdefault("RAYON_NUM_THREADS", str(num_threads))
        if device == "cpu":
            tune_process()
        path = resolve_model(settings.model, settings.revision) if path is None else path
        return cls(settings, path, device, cache_folder)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.settings.dimensions or self._backbone.dim

    def prefix(self, kind: Kind) -> str:
        """Return what stands before every text of a kind."""
        return self.settings.prefix(kind, self._path)

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 vectors (len(texts), dim) of documents, each text preceded by the document prefix."""
        return self.encode(texts, self.prefix("document"))

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 vectors (len(texts), dim) of queries, each text preceded by the query prefix."""
        return self.encode(texts, self.prefix("query"))

    def encode(self, texts: Sequence[str], prefix: str = "") -> NDArray[np.float32]:
        """Return float32 vectors (len(texts), dim) in the order of `texts`; an empty list gives (0, dim).

        Lone surrogates count as U+FFFD. Raises TypeError for anything but strings, and ValueError for a text that
        cannot be encoded, naming its position and why.
        """
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"texts[{position}] is {type(text).__name__}, not str")
        (encoded,) = self.encode_windows([texts], prefix)
        for position, reason in encoded.reasons.items():
            raise ValueError(f"texts[{position}] cannot be encoded: {reason}")
        return encoded.vectors_ND

    def encode_windows(self, windows: Iterable[Sequence[str | None]], prefix: str = "") -> Iterator[Encoded]:
        """Yield each window's vectors in its order, a reason in place of a vector for a text that cannot be encoded.

        The next window is tokenized while this one runs. Batches do not cross windows, so a window of some thousand
        texts is a good size. Raises the error of the network where no text of a window gets through it.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="tokenize") as ahead:
            waiting: Future[Window] | None = None
            for texts in windows:
                following = ahead.submit(self._tokenize, texts, prefix)
                if waiting is not None:
                    yield self._forward(waiting.result())
                waiting = following
            if waiting is not None:
                yield self._forward(waiting.result())

    def measure_gemm_rate(self) -> float:
        """Return the operations a second that products of this model's shapes reach on this machine."""
        num_threads = torch.get_num_threads() if self.device == "cpu" else 1
        return measure_gemm_rate(self._dtype, self.device, num_threads, tuple(self._backbone.linear_shapes))

    def _compare_with_float32(self) -> Agreement:
        exact = Encoder(replace(self.settings, backend="torch", dtype="float32"), self._path)

        def encode(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
            (encoded,) = encoder.encode_windows([texts], encoder.prefix("document"))
            return encoded.vectors_ND

        found = measure_agreement(partial(encode, self), partial(encode, exact))
        self.stats = EncoderStats()
        return found

    def _tokenize(self, texts: Sequence[str | None], prefix: str) -> Window:
        encoded = Encoded(np.full((len(texts), self.dim), np.nan, dtype=np.float32))
        ids_by_row: dict[int, list[int]] = {}

        def tokenize(rows: Sequence[int]) -> None:
            try:
                found = self._tokenizer.ids([prefix + str(texts[row]) for row in rows])
            except BaseException as error:
                if not is_isolatable(error):
                    raise
                if len(rows) == 1:
                    encoded.reasons[rows[0]] = describe(error)
                    return
                tokenize(rows[: len(rows) // 2])
                tokenize(rows[len(rows) // 2 :])
            else:
                ids_by_row.update(zip(rows, found, strict=True))

        given = [row for row, text in enumerate(texts) if isinstance(text, str)]
        encoded.reasons.update(dict.fromkeys(set(range(len(texts))).difference(given), "no text"))
        if given:
            tokenize(given)
        encoded.reasons.update({row: "no tokens" for row, ids in ids_by_row.items() if not ids})
        rows = [row for row in given if ids_by_row.get(row)]
        ids = [ids_by_row[row] for row in rows]
        lengths_N = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        return Window(encoded, np.array(rows, dtype=np.int64), ids, lengths_N)

    def _forward(self, window: Window) -> Encoded:
        started = time.perf_counter()
        batches = plan_batches(window.lengths_N, self._budget, self._ladder)
        num_threads = torch.get_num_threads() if self.device == "cpu" else 1
        with side_by_side(num_threads if len(batches) >= 2 * num_threads else 1) as start:
            start([partial(self._fill, window, batch) for batch in batches])()
        self._collect(window)
        self._retry_not_finite(window)
        if len(window.errors) == len(window.rows) >= _TOO_FEW_TO_BLAME_THE_MODEL:
            raise next(iter(window.errors.values()))
        window.encoded.reasons.update({row: describe(error) for row, error in window.errors.items()})
        self.stats.texts += len(window.encoded.vectors_ND)
        self.stats.unknown += sum(ids.count(self._tokenizer.unknown_id) for ids in window.ids)
        self.stats.without_vector += len(window.encoded.reasons)
        self.stats.seconds += time.perf_counter() - started
        return window.encoded

    def _fill(self, window: Window, batch: Batch) -> None:
        """Put the batch's vectors into their rows; halve the batch where it is over the budget or does not run."""
        num_texts = len(batch.indices)
        num_slots = num_texts * batch.padded_length
        if num_texts == 1 or num_slots <= self._budget:
            try:
                vectors_BD = self._run(self._backbone, window, batch)
                self._keep(window, window.rows[batch.indices], vectors_BD)
            except Exception as error:
                if not is_isolatable(error):
                    raise
                let_go(error)
                if is_out_of_memory(error):
                    self._remember_ceiling(num_slots)
                if num_texts == 1:
                    window.errors[int(window.rows[batch.indices[0]])] = error
                    return
            else:
                return
        for half in halve(batch):
            self._fill(window, half)

    def _run(self, backbone: Backbone, window: Window, batch: Batch) -> Tensor:
        lengths_B = torch.from_numpy(window.lengths_N[batch.indices])
        ids_T = torch.from_numpy(np.concatenate([np.asarray(window.ids[i], dtype=np.int64) for i in batch.indices]))
        with torch.inference_mode():
            hidden_TH = backbone.hidden(ids_T, lengths_B, batch.padded_length)
            vectors_BD: Tensor = pool(hidden_TH, lengths_B, self._pooling)[:, : self.dim]
            if self.settings.normalize:
                vectors_BD = torch.nn.functional.normalize(vectors_BD, dim=1)
        num_slots = len(batch.indices) * batch.padded_length
        with self._stats_lock:
            self.stats.count_batch(int(ids_T.shape[0]), num_slots, backbone.pads, backbone.count_flops(lengths_B))
        return vectors_BD

    def _keep(self, window: Window, rows: NDArray[np.int64], vectors_BD: Tensor) -> None:
        """Copy vectors to their rows; from an accelerator without waiting, so that the next batch starts meanwhile."""
        if vectors_BD.device.type == "cpu":
            window.encoded.vectors_ND[rows] = vectors_BD.numpy()
            return
        host_BD = torch.empty(vectors_BD.shape, dtype=vectors_BD.dtype, pin_memory=True)
        host_BD.copy_(vectors_BD, non_blocking=True)
        window.pending.append((rows, host_BD))

    def _collect(self, window: Window) -> None:
        if not window.pending:
            return
        torch.cuda.synchronize(self.device)
        for rows, host_BD in window.pending:
            window.encoded.vectors_ND[rows] = host_BD.numpy()
        window.pending.clear()

    def _retry_not_finite(self, window: Window) -> None:
        """Encode once more in float32, each by itself, what came out as NaN, infinite or (to normalize) zero."""
        suspects = [i for i in self._spoiled(window) if int(window.rows[i]) not in window.errors]
        if suspects and self._dtype != torch.float32:
            self._exact = self._exact or self._load_exact()
            for alone in plan_batches(window.lengths_N[suspects], 1, self._ladder):
                one = Batch(np.array(suspects)[alone.indices], alone.padded_length)
                rows = window.rows[one.indices]
                try:
                    self._keep(window, rows, self._run(self._exact, window, one))
                except Exception as error:
                    if not is_isolatable(error):
                        raise
                    let_go(error)
                    window.errors[int(rows[0])] = error
            self.stats.retried += len(suspects)
            self._collect(window)
            suspects = self._spoiled(window)
        for i in suspects:
            row = int(window.rows[i])
            if row not in window.errors:
                window.encoded.reasons[row] = "vector not finite"
                window.encoded.vectors_ND[row] = np.nan

    def _load_exact(self) -> Backbone:
        """Load the network in float32; onto the CPU where the device has no room for a second one."""
        try:
            return load_backbone(self._path, self.device, torch.float32)
        except Exception as error:
            if self.device == "cpu" or not is_out_of_memory(error):
                raise
            let_go(error)
        torch.cuda.empty_cache()
        return load_backbone(self._path, "cpu", torch.float32)

    def _spoiled(self, window: Window) -> list[int]:
        vectors_ND = window.encoded.vectors_ND[window.rows]
        good_N = np.isfinite(vectors_ND).all(axis=1)
        if self.settings.normalize:
            good_N &= (vectors_ND != 0).any(axis=1)
        return [int(i) for i in np.flatnonzero(~good_N)]

    def _remember_ceiling(self, failed_tokens: int) -> None:
        with self._stats_lock:
            self._budget = max(1, min(self._budget, failed_tokens // 2))
            self.stats.out_of_memory += 1
            self._ceilings.lower(self._budget)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
