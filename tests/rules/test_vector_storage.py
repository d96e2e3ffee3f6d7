"""Packed vectors, against the standard library's half floats (`struct`, format e) and cosines by sums."""

import math
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.rules.vector_storage import pack_vectors, unpack_vectors

quick = settings(derandomize=True, max_examples=150, deadline=None)
Vector = list[float]


def bytes_of(vector: Vector) -> bytes | None:
    """What the standard library makes of the vector; None where it refuses, or nothing but zeros is left of it."""
    try:
        packed = struct.pack(f"<{len(vector)}e", *vector)
    except OverflowError:
        return None
    return packed if any(struct.unpack(f"<{len(vector)}e", packed)) or not any(vector) else None


def loss_of(vector: Vector) -> float:
    """1 - cosine of the vector and its half floats, in double precision; 0 where either has no direction."""
    packed = bytes_of(vector)
    if packed is None or not any(vector):
        return 0.0
    halves = struct.unpack(f"<{len(vector)}e", packed)
    dot = math.fsum(a * b for a, b in zip(vector, halves, strict=True))
    return 1 - dot / math.sqrt(math.fsum(a * a for a in vector)) / math.sqrt(math.fsum(b * b for b in halves))


def arrow(vectors: list[Vector | None]) -> pa.ListArray:
    return pa.array(vectors, pa.list_(pa.float32()))


def read_back(vectors: list[Vector | None]) -> list[Vector | None]:
    packed = pack_vectors(arrow(vectors))
    halves = unpack_vectors(packed.halves)
    return [a if a is not None else b for a, b in zip(packed.vectors.to_pylist(), halves.to_pylist(), strict=True)]


@st.composite
def columns(draw: st.DrawFn) -> list[Vector | None]:
    """Lists of one length, with nulls, zeros, subnormal halves, and numbers beyond their range."""
    width = draw(st.integers(1, 5))
    common = st.floats(-1, 1, width=32)
    odd = st.sampled_from([0.0, -0.0, 65504.0, 65519.0, 65520.0, -1e30, 6e-8, 2e-8, -1e-20, 0.1])
    # As float32 holds them, which is what the table has.
    number = st.one_of(common, odd).map(lambda value: float(np.float32(value)))
    return draw(st.lists(st.none() | st.lists(number, min_size=width, max_size=width), max_size=12))


@quick
@given(columns())
def test_every_row_has_its_vector_in_one_column_as_the_standard_library_packs_it(vectors: list[Vector | None]) -> None:
    packed = pack_vectors(arrow(vectors))
    for vector, full, halves in zip(vectors, packed.vectors.to_pylist(), packed.halves.to_pylist(), strict=True):
        expected = None if vector is None else bytes_of(vector)
        assert halves == expected
        assert full == (vector if expected is None else None)


@quick
@given(columns())
def test_what_is_read_back_is_the_nearest_half(vectors: list[Vector | None]) -> None:
    for vector, found in zip(vectors, read_back(vectors), strict=True):
        packed = None if vector is None else bytes_of(vector)
        assert found == (vector if packed is None else list(struct.unpack(f"<{len(vector)}e", packed)))


@quick
@given(columns())
def test_the_loss_is_the_worst_of_all_rows(vectors: list[Vector | None]) -> None:
    expected = max([0.0, *(loss_of(vector) for vector in vectors if vector is not None)])
    assert pack_vectors(arrow(vectors)).max_cosine_loss == pytest.approx(expected, abs=1e-12)


def test_the_loss_by_arithmetic() -> None:
    # 1/1024 and 1 + 1/1024 are halves; 1 + 1/4096 is not, it becomes 1.
    assert pack_vectors(arrow([[1 + 1 / 1024, 1 / 1024]])).max_cosine_loss == 0
    a, b = (1.0, 1 + 1 / 4096), (1.0, 1.0)
    cosine = (a[0] * b[0] + a[1] * b[1]) / math.hypot(*a) / math.hypot(*b)
    assert pack_vectors(arrow([list(a), None])).max_cosine_loss == pytest.approx(1 - cosine, rel=1e-6)
    assert 0 < 1 - cosine < 1e-7


def test_zeros_stay_zeros_and_what_would_become_zeros_stays_exact() -> None:
    packed = pack_vectors(arrow([[0.0, -0.0], [1e-9, 0.0], [7e4, 1.0]]))
    assert packed.halves.to_pylist() == [b"\0\0\0\x80", None, None]
    assert packed.vectors.is_valid().to_pylist() == [False, True, True]
    assert packed.max_cosine_loss == 0


@pytest.mark.parametrize("vectors", [[], [None], [None, None]])
def test_columns_without_a_vector(vectors: list[None]) -> None:
    packed = pack_vectors(arrow(vectors))
    assert packed.vectors.to_pylist() == packed.halves.to_pylist() == vectors
    assert packed.max_cosine_loss == 0
    assert unpack_vectors(packed.halves).to_pylist() == vectors


def test_a_slice_of_a_column_is_packed_as_what_it_holds() -> None:
    whole = arrow([[9.0, 9.0], [1.0, 2.0], None, [3.0, 4.0], [9.0, 9.0]])
    assert unpack_vectors(pack_vectors(whole.slice(1, 3)).halves).to_pylist() == [[1.0, 2.0], None, [3.0, 4.0]]


def test_half_the_bytes() -> None:
    vectors = arrow(np.random.default_rng(0).standard_normal((8, 384)).astype(np.float32).tolist())
    assert {len(blob) for blob in pack_vectors(vectors).halves.to_pylist()} == {768}


def test_bytes_that_are_no_vector_are_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        unpack_vectors(pa.array([b"ab", b"abc", None]))
