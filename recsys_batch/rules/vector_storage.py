"""Vectors in half the bytes: a row of float16 numbers (IEEE 754 binary16, little endian) as one binary value.

Spark has no half type; a binary value is what Parquet and Arrow hold without a byte of overhead a number.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

VectorStorage = Literal["float32", "float16"]
_HALF = np.dtype("<f2")


@dataclass(frozen=True)
class Packed:
    """A column of vectors after packing: in every row at most one of the two columns holds the vector."""

    vectors: pa.ListArray
    """list<float>: the rows that float16 cannot hold, null elsewhere."""
    halves: pa.BinaryArray
    """The other rows as float16, null where there is no vector."""
    max_cosine_loss: float
    """Largest 1 - cosine between a vector and what is read back; 0 without rows."""


def pack_vectors(vectors: pa.ListArray) -> Packed:
    """Pack a list<float> column, null rows included, whose lists are equally long.

    A row with a number beyond float16's range (65504) or one that rounds to nothing but zeros stays as it is.
    """
    rows = np.flatnonzero(vectors.is_valid().to_numpy(zero_copy_only=False))
    values = vectors.drop_null().flatten().to_numpy(zero_copy_only=False)
    exact_ND = values.reshape(len(rows), len(values) // max(len(rows), 1))
    with np.errstate(over="ignore"):
        halves_ND = exact_ND.astype(_HALF)
    fits_N = np.isfinite(halves_ND).all(axis=1) & (halves_ND.any(axis=1) | ~exact_ND.any(axis=1))
    packed = dict(zip(rows[fits_N].tolist(), halves_ND[fits_N], strict=True))
    blobs = [packed[row].tobytes() if row in packed else None for row in range(len(vectors))]
    kept = pa.array(np.arange(len(vectors)), mask=np.isin(np.arange(len(vectors)), rows[fits_N]))
    return Packed(
        vectors.take(kept), pa.array(blobs, pa.binary()), _max_cosine_loss(exact_ND[fits_N], halves_ND[fits_N])
    )


def unpack_vectors(halves: pa.Array) -> pa.ListArray:
    """Return a packed column as list<float>; null stays null. Raises ValueError for a value of odd length."""
    blobs = halves.to_pylist()
    if odd := [len(blob) for blob in blobs if blob is not None and len(blob) % _HALF.itemsize]:
        raise ValueError(f"a packed vector has {odd[0]} bytes, which is no number of float16 values")
    values = np.frombuffer(b"".join(blob for blob in blobs if blob is not None), _HALF).astype(np.float32)
    widths = [0 if blob is None else len(blob) // _HALF.itemsize for blob in blobs]
    starts = pa.array(np.concatenate([[0], np.cumsum(widths)]).astype(np.int32))
    missing = pa.array([blob is None for blob in blobs], pa.bool_())
    return pa.ListArray.from_arrays(starts, pa.array(values), mask=missing)


def _max_cosine_loss(exact_ND: NDArray[Any], halves_ND: NDArray[Any]) -> float:
    a_ND, b_ND = exact_ND.astype(np.float64), halves_ND.astype(np.float64)
    lengths_N = np.linalg.norm(a_ND, axis=1) * np.linalg.norm(b_ND, axis=1)
    compared = lengths_N > 0
    cosines_N = (a_ND * b_ND).sum(axis=1)[compared] / lengths_N[compared]
    return float(max(0.0, 1 - cosines_N.min())) if compared.any() else 0.0
