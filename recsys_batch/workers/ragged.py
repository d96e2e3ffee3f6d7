"""Lists of different lengths between Arrow and NumPy."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True)
class Ragged:
    """Lists end to end: list r is `values[starts[r]:starts[r + 1]]`."""

    values: npt.NDArray[Any]
    starts: npt.NDArray[np.int64]

    @classmethod
    def from_arrow(cls, column: pa.ListArray, dtype: npt.DTypeLike) -> "Ragged":
        """Read a list column; a null list is empty."""
        lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(column.flatten().to_numpy(zero_copy_only=False).astype(dtype, copy=False), starts)

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        """Return list `row`."""
        return self.values[self.starts[row] : self.starts[row + 1]]

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self.starts) - 1


def to_vector_array(rows_ND: npt.NDArray[np.float32]) -> pa.ListArray:
    """Return a matrix (N, D) as list<float>; Spark refuses fixed-size lists."""
    num_rows, width = rows_ND.shape
    starts = np.arange(num_rows + 1, dtype=np.int32) * np.int32(width)
    return pa.ListArray.from_arrays(pa.array(starts), pa.array(rows_ND.astype(np.float32, copy=False).reshape(-1)))


def windows(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Regroup record batches so that each but the last has exactly `rows` rows: Spark's batch ends carry no meaning."""
    held: list[pa.RecordBatch] = []
    num_held = 0
    for batch in batches:
        held.append(batch)
        num_held += batch.num_rows
        while num_held >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows).combine_chunks().to_batches()[0]
            held = table.slice(rows).to_batches()
            num_held -= rows
    if num_held:
        yield pa.Table.from_batches(held).combine_chunks().to_batches()[0]
