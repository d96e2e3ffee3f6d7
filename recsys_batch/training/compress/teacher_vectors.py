"""The texts that a student learns from, and the teacher's vectors of them, computed once and kept in a file."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys_batch.nn.encoder.encoder import Encoder

_WINDOW = 2048


@dataclass(frozen=True)
class Corpus:
    """What a search model reads, without any judgment: documents, and queries or phrases that could be queries."""

    documents: Sequence[str]
    queries: Sequence[str] = ()

    def texts(self, encoder: Encoder) -> list[str]:
        """Return all distinct texts as this model reads them, prefixes before them, documents first."""
        documents = [encoder.prefix("document") + text for text in self.documents]
        queries = [encoder.prefix("query") + text for text in self.queries]
        return list(dict.fromkeys([*documents, *queries]))


def teacher_vectors(teacher: Encoder, texts: Sequence[str], folder: Path) -> NDArray[np.float32]:
    """Return the teacher's unit vectors (N, H) of texts that already have their prefixes.

    They are kept in `folder`, in a file named by the teacher's fingerprint and the texts: another teacher, other
    settings or other texts never meet old vectors. Raises ValueError for a text that cannot be encoded.
    """
    digest = hashlib.sha256("\0".join([str(len(texts)), *texts]).encode("utf-8", "surrogatepass")).hexdigest()
    file = folder / f"teacher-{teacher.fingerprint[:16]}-{digest[:16]}.npy"
    if not file.is_file():
        windows = [texts[start : start + _WINDOW] for start in range(0, len(texts), _WINDOW)]
        parts = [np.zeros((0, teacher.dim), dtype=np.float32)]
        for number, encoded in enumerate(teacher.encode_windows(windows)):
            for position, reason in encoded.reasons.items():
                raise ValueError(f"texts[{number * _WINDOW + position}] cannot be encoded by the teacher: {reason}")
            parts.append(encoded.vectors_ND)
        vectors_NH = np.concatenate(parts)
        lengths_N1 = np.linalg.norm(vectors_NH, axis=1, keepdims=True)
        _write(file, vectors_NH / np.maximum(lengths_N1, np.finfo(np.float32).tiny))
    vectors: NDArray[np.float32] = np.load(file, allow_pickle=False)
    return vectors


def _write(file: Path, vectors_NH: NDArray[np.float32]) -> None:
    """Write all or nothing: a run that was stopped leaves no half file under the name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".making-", delete=False) as stream:
        np.save(stream, vectors_NH, allow_pickle=False)
    os.replace(stream.name, file)  # noqa: PTH105
