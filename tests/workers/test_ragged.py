"""Lists between Arrow and NumPy, and windows over record batches: where a batch ends never changes a result."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.workers.ragged import Ragged, to_vector_array, windows

quick = settings(derandomize=True, max_examples=80, deadline=None)
LISTS = st.lists(st.none() | st.lists(st.integers(-9, 9), max_size=4), max_size=8)
INT_LISTS = pa.list_(pa.int32())


@quick
@given(LISTS, st.integers(0, 3), st.integers(0, 8))
def test_lists_are_read(lists: list[list[int] | None], start: int, length: int) -> None:
    # Sliced as well: a slice of an Arrow list array keeps its parent's offsets.
    column = pa.array(lists, INT_LISTS).slice(start, length)
    expected = [row or [] for row in lists[start : start + length]]
    ragged = Ragged.from_arrow(column, np.int64)
    assert len(ragged) == len(expected)
    assert [ragged[row].tolist() for row in range(len(ragged))] == expected
    assert ragged.values.dtype == np.int64


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (4, 3)])
def test_a_matrix_goes_through_lists_and_back(shape: tuple[int, int]) -> None:
    matrix = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    lists = to_vector_array(np.asfortranarray(matrix))
    assert lists.type == pa.list_(pa.float32())
    assert lists.to_pylist() == matrix.tolist()


@quick
@given(st.lists(st.integers(0, 7), max_size=6), st.integers(1, 9))
def test_windows_regroup_rows_without_changing_them(sizes: list[int], rows: int) -> None:
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    values = [{"n": n, "list": [n] * (n % 3), "text": f"商{n}"} for n in range(bounds[-1])]
    schema = pa.schema([("n", pa.int32()), ("list", INT_LISTS), ("text", pa.string())])
    batches = [pa.RecordBatch.from_pylist(values[a:b], schema=schema) for a, b in pairwise(bounds)]
    made = list(windows(iter(batches), rows))
    assert [row for window in made for row in window.to_pylist()] == values
    assert all(window.schema == schema for window in made)
    assert all(window.num_rows == rows for window in made[:-1])
    assert all(0 < window.num_rows <= rows for window in made[-1:])


def test_windows_do_not_read_ahead() -> None:
    read: list[int] = []

    def batches() -> Any:
        for number in range(3):
            read.append(number)
            yield pa.record_batch([pa.array([number, number])], names=["n"])

    made = windows(batches(), 2)
    assert next(made).column("n").to_pylist() == [0, 0]
    assert read == [0]
