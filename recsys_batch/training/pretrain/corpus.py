"""The texts of a shop to pre-train on: item documents, queries and reviews, each once, some of them held out.

Which texts are held out follows from each text alone, so that a corpus that grew, or was read in another order, never
moves a text from the held-out part to the training part.
"""

import csv
import gzip
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.dataset as pads

from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.contracts.example_schemas import ExampleTables
from recsys_batch.rules.texts.clean import clean_text
from recsys_batch.training.examples.files import ExampleFiles

_ARROW_FORMATS = {".parquet": "parquet", ".arrow": "ipc", ".feather": "feather"}
_SCALE = 2**64


class EmptyCorpusError(InputNotReadyError):
    """There is no text to pre-train on."""


@dataclass(frozen=True)
class Corpus:
    """Distinct clean texts; the order says nothing."""

    train: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    @classmethod
    def from_texts(cls, texts: Iterable[str | None], held_out_share: float = 0.02) -> "Corpus":
        """Return the texts cleaned (`rules.texts.clean.clean_text`), without empty and repeated ones, by their hashes.

        Raises EmptyCorpusError where nothing is left to train on.
        """
        by_hash = {_hash(text): text for text in map(clean_text, texts) if text}
        limit = int(held_out_share * _SCALE)
        keys = sorted(by_hash)
        train = tuple(by_hash[key] for key in keys if _draw(key) >= limit)
        if not train:
            raise EmptyCorpusError(
                f"the corpus has no text to train on ({len(keys):,} distinct ones, of which a share of "
                f"{held_out_share:g} is held out); check the sources and their columns"
            )
        return cls(train, tuple(by_hash[key] for key in keys if _draw(key) < limit))

    def __len__(self) -> int:
        """Return the number of training texts."""
        return len(self.train)

    @cached_property
    def version(self) -> str:
        """Return a sha256 over all texts: what a checkpoint was made from."""
        digest = hashlib.sha256()
        for part in (self.train, self.held_out):
            digest.update("\0".join((*part, "")).encode("utf-8", "surrogatepass") + b"\1")
        return digest.hexdigest()


def read_texts(path: Path, columns: Sequence[str] = ()) -> Iterator[str]:
    """Yield the texts of a file or folder: lines of `.txt`, rows of `.csv`, `.tsv`, `.parquet`, `.arrow`, `.feather`;
    text formats also as `.gz`.

    Of tables, `columns` are joined by blanks, nulls left out. Raises InputNotReadyError where there is no such path,
    ConfigError for a format or column that is not there.
    """
    if not path.exists():
        raise InputNotReadyError(f"{path}: no such file or folder of texts; check the path, or write it first")
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    if path.is_dir() or kind in _ARROW_FORMATS:
        yield from _read_arrow(path, _ARROW_FORMATS.get(kind, "parquet"), columns)
    elif kind in (".csv", ".tsv"):
        yield from _read_csv(path, "\t" if kind == ".tsv" else ",", columns)
    elif kind == ".txt":
        with _open(path) as stream:
            yield from (line.rstrip("\n") for line in stream)
    else:
        raise ConfigError(f"{path}: format {kind or 'without ending'!r} is not read; use txt, csv, tsv, parquet, arrow")


def texts_of_examples(files: ExampleFiles) -> Iterator[str]:
    """Yield what training may read of an exported dataset: texts of items, queries, and reviews."""
    yield from files.read(ExampleTables.ITEMS, "train")["text"].to_pylist()
    yield from files.read(ExampleTables.QUERY_ITEMS, "train")["query"].to_pylist()
    yield from (text for text in files.read(ExampleTables.RATINGS, "train")["text"].to_pylist() if text)


def _read_arrow(path: Path, file_format: str, columns: Sequence[str]) -> Iterator[str]:
    found = pads.dataset(str(path), format=file_format)
    _check_columns(path, columns, found.schema.names)
    for batch in found.to_batches(columns=list(columns)):
        texts = [batch.column(name).cast(pa.string()).to_pylist() for name in columns]
        yield from (" ".join(value for value in row if value) for row in zip(*texts, strict=True))


def _read_csv(path: Path, delimiter: str, columns: Sequence[str]) -> Iterator[str]:
    with _open(path) as stream:
        rows = csv.DictReader(stream, delimiter=delimiter)
        _check_columns(path, columns, rows.fieldnames or [])
        yield from (" ".join(row[name] for name in columns if row[name]) for row in rows)


def _check_columns(path: Path, columns: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in known]
    if unknown or not columns:
        wanted = ", ".join(unknown) or "none named"
        raise ConfigError(f"{path}: columns of text {wanted}; the file has {', '.join(known) or 'no columns'}")


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _draw(key: bytes) -> int:
    return int.from_bytes(key[:8], "little")
