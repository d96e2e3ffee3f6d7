"""Looks for ids in the bytes of files: the proof that a forgotten user is in none.

Parquet files are compressed, so what their columns and bounds hold is looked at; every other file is read as it is. An
id counts where no letter or digit stands beside it, and, where it is all digits, where it is no bare number of a JSON
file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from recsys_batch.contracts.filesystem import open_folder
from recsys_batch.contracts.schemas import SCANNED_FILES

_CHUNK_BYTES = 8 * 2**20
_BATCH_ROWS = 65_536
# An id this long does not turn up in compressed bytes by chance.
_LONG_ID = 12
_MAGIC = b"PAR1"


@dataclass(frozen=True)
class FindIds:
    """(path, length) of files -> the same with which of the ids each of them shows, by their number."""

    ids: tuple[tuple[str, ...], ...] = field(repr=False)
    """Per user all that may stand for it: the id, its pseudonym."""
    only_columns: frozenset[str] = frozenset()
    """Look in these columns of Parquet files alone, and in other files for an id beside the word `user_id`: where a
    user's id is that of an item too. All columns, and everything else, where empty."""
    output_schema: pa.Schema = field(default=SCANNED_FILES, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Scan file by file."""
        for batch in batches:
            found = [
                self._scan(path, length)
                for path, length in zip(*map(pa.Array.to_pylist, batch.columns[:2]), strict=True)
            ]
            columns = [batch.column(0), batch.column(1), pa.array(found, pa.list_(pa.int32()))]
            yield pa.record_batch(columns, schema=SCANNED_FILES)

    def _scan(self, uri: str, length: int) -> list[int]:
        system, path = open_folder(uri)
        is_parquet = False
        if length > 2 * len(_MAGIC) and path.endswith(".parquet"):
            with system.open_input_file(path) as file:
                is_parquet = file.read(len(_MAGIC)) == _MAGIC
        texts = self._in_parquet(system, path) if is_parquet else set()
        if not is_parquet:
            texts |= self._in_bytes(system, path, [text for user in self.ids for text in user])
        elif not self.only_columns:
            texts |= self._in_bytes(system, path, [t for user in self.ids for t in user if len(t) >= _LONG_ID])
        return [number for number, user in enumerate(self.ids) if texts & set(user)]

    def _in_bytes(self, system: pafs.FileSystem, path: str, texts: list[str]) -> set[str]:
        wanted = {text: _pattern(text, bool(self.only_columns)) for text in texts}
        overlap = 2 * max((len(text.encode()) for text in texts), default=0) + 32
        found: set[str] = set()
        with system.open_input_stream(path) as stream:
            held, is_first, coming = b"", True, stream.read(_CHUNK_BYTES)
            while wanted and coming:
                held, coming = held + coming, stream.read(_CHUNK_BYTES)
                # What stands beside an id at an edge was seen before, or is seen with the next chunk.
                low, high = (-1 if is_first else 0), (len(held) if coming else len(held) + 1)
                for text, pattern in wanted.items():
                    if any(match.start() > low and match.end() < high for match in pattern.finditer(held)):
                        found.add(text)
                wanted = {text: pattern for text, pattern in wanted.items() if text not in found}
                is_first = is_first and len(held) <= overlap
                held = held[-overlap:]
        return found

    def _in_parquet(self, system: pafs.FileSystem, path: str) -> set[str]:
        texts = [text for user in self.ids for text in user]
        patterns = {text: rf"(^|[^0-9A-Za-z]){re.escape(text)}($|[^0-9A-Za-z])" for text in texts}
        found: set[str] = set()
        with system.open_input_file(path) as source:
            file = pq.ParquetFile(source)
            for values in (*self._bounds(file), *self._columns(file)):
                found |= {
                    text
                    for text in texts
                    if text not in found and pc.any(pc.match_substring_regex(values, patterns[text])).as_py()
                }
        return found

    def _bounds(self, file: pq.ParquetFile) -> Iterator[pa.Array]:
        meta, texts = file.metadata, []
        for group in range(meta.num_row_groups):
            for place in range(meta.num_columns):
                column = meta.row_group(group).column(place)
                bounds = column.statistics
                if bounds is not None and bounds.has_min_max and not self._is_skipped(column.path_in_schema):
                    texts += [text for each in (bounds.min, bounds.max) if (text := _text(each)) is not None]
        yield pa.array(texts, pa.string())

    def _columns(self, file: pq.ParquetFile) -> Iterator[pa.Array]:
        for batch in file.iter_batches(_BATCH_ROWS):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                yield from self._leaves(name, column)

    def _leaves(self, name: str, column: pa.Array) -> Iterator[pa.Array]:
        kind = column.type
        if self._is_skipped(name):
            return
        if pa.types.is_dictionary(kind):
            yield from self._leaves(name, column.dictionary)
        elif pa.types.is_struct(kind):
            for number, inner in enumerate(column.flatten()):
                yield from self._leaves(f"{name}.{kind.field(number).name}", inner)
        elif pa.types.is_map(kind):
            yield from self._leaves(f"{name}.key", column.keys)
            yield from self._leaves(f"{name}.value", column.items)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            yield from self._leaves(name, column.flatten())
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            yield column.cast(pa.string())
        elif pa.types.is_binary(kind):
            yield pa.array([_text(each.as_py()) for each in column], pa.string())

    def _is_skipped(self, name: str) -> bool:
        return bool(self.only_columns) and name.split(".", 1)[0] not in self.only_columns


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _pattern(text: str, beside_name: bool) -> re.Pattern[bytes]:
    """Return what an id looks like in a file that is no Parquet."""
    token = re.escape(text.encode())
    if beside_name:
        return re.compile(rb'user_id[\\": \[({=]{1,8}' + token + rb"(?![0-9A-Za-z])")
    if text.isdigit():
        # `"size":17850,` is a number.
        return re.compile(rb"(?<![0-9A-Za-z.])(?<!\":)(?<!\": )" + token + rb"(?![0-9A-Za-z.])")
    return re.compile(rb"(?<![0-9A-Za-z])" + token + rb"(?![0-9A-Za-z])")
