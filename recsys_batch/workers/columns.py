"""Encodes and scores columns of texts, a batch of rows at a time: what the ad hoc UDFs run. Knows no Spark.

A row without a result (no text, or a text that cannot be encoded) comes back as NaN.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from recsys_batch.contracts.worker_task import current_task
from recsys_batch.nn.encoder.encoder import Encoder
from recsys_batch.nn.encoder.prompts import Kind
from recsys_batch.nn.encoder.settings import EncoderSettings
from recsys_batch.workers.encode import ending_on_device_failure
from recsys_batch.workers.models import get_encoder

Texts = Sequence[str | None]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
_NO_TEXT = -1


@dataclass(frozen=True)
class EmbedColumn:
    """Texts -> float32 vectors (N, D), batch by batch, in the order of the input."""

    settings: EncoderSettings
    kind: Kind
    device: str = "auto"

    def __call__(self, batches: Iterator[Texts]) -> Iterator[FloatArray]:
        """Encode the partition's batches; one without batches loads no model."""
        for vectors_ND, (rows_N,) in _encode(self.settings, self.device, (self.kind,), ((b,) for b in batches)):
            yield vectors_ND[rows_N]


@dataclass(frozen=True)
class ScorePairs:
    """(queries, documents) -> float32 cosines (N,), batch by batch, in the order of the input."""

    settings: EncoderSettings
    device: str = "auto"

    def __call__(self, batches: Iterator[tuple[Texts, Texts]]) -> Iterator[FloatArray]:
        """Score the partition's batches; one without batches loads no model."""
        for vectors_ND, (queries_N, documents_N) in _encode(self.settings, self.device, ("query", "document"), batches):
            units_ND = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
            yield np.einsum("nd,nd->n", units_ND[queries_N], units_ND[documents_N])


def _encode(
    settings: EncoderSettings, device: str, kinds: Sequence[Kind], batches: Iterator[Sequence[Texts]]
) -> Iterator[tuple[FloatArray, list[IntArray]]]:
    """Yield each batch's distinct vectors, last a row of NaN, and for each of its columns the rows of the vectors."""
    first = next(batches, None)
    if first is None:
        return
    with ending_on_device_failure():
        encoder = get_encoder(settings, device, current_task().cpus)
    prefixes = [encoder.prefix(kind) for kind in kinds]
    places: deque[list[IntArray]] = deque()

    def distinct(columns: Sequence[Texts]) -> list[str]:
        found: dict[str, int] = {}
        places.append([_places(column, prefix, found) for column, prefix in zip(columns, prefixes, strict=True)])
        return list(found)

    with ending_on_device_failure():
        # The prefixes are part of the texts, so that queries and documents share forward passes.
        for encoded in encoder.encode_windows(distinct(columns) for columns in chain([first], batches)):
            yield np.vstack([encoded.vectors_ND, _nothing(encoder)]), places.popleft()


def _places(texts: Texts, prefix: str, found: dict[str, int]) -> IntArray:
    """Return where each prefixed text stands among those found, adding new ones; the last place without text."""
    numbers = (_NO_TEXT if text is None else found.setdefault(prefix + text, len(found)) for text in texts)
    return np.fromiter(numbers, dtype=np.int64, count=len(texts))


def _nothing(encoder: Encoder) -> FloatArray:
    return np.full((1, encoder.dim), np.nan, dtype=np.float32)
