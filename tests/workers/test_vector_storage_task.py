"""Packing what the encoding task makes, with real weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from recsys_batch.contracts.schemas import PACKED_VECTORS
from recsys_batch.report.progress import read_progress
from recsys_batch.workers import encode
from recsys_batch.workers.vector_storage import MAX_COSINE_LOSS, PackVectors
from tests.workers.test_encode_task import LINES, as_table, make_task

TEXTS = [*LINES, None, "👍"]


def make_packing(folder: Path) -> PackVectors:
    return PackVectors(make_task(folder / "encode"), str(folder / "pack"))


def losses(folder: Path) -> list[float]:
    return [float(state[MAX_COSINE_LOSS]) for state in read_progress(str(folder / "pack"))]


def cosine_loss(exact_ND: np.ndarray, halves_ND: np.ndarray) -> float:
    """The worst of the rows, in double precision."""
    a_ND, b_ND = exact_ND.astype(np.float64), halves_ND.astype(np.float64)
    lengths = np.linalg.norm(a_ND, axis=1) * np.linalg.norm(b_ND, axis=1)
    return float((1 - np.einsum("nd,nd->n", a_ND, b_ND) / lengths).max())


def test_vectors_are_packed_beside_their_keys_and_reasons(build: Any, tmp_path: Path) -> None:
    plain = build.run_task(make_task(tmp_path / "plain"), as_table(TEXTS))
    made = build.run_task(make_packing(tmp_path), as_table(TEXTS))
    assert made.schema == PACKED_VECTORS
    assert made["text_key"].to_pylist() == plain["text_key"].to_pylist()
    assert made["reason"].to_pylist() == plain["reason"].to_pylist() == [None] * len(LINES) + ["no text", None]
    assert made["vector"].null_count == made.num_rows
    blobs = made["vector_f16"].to_pylist()
    assert blobs.pop(len(LINES)) is None
    exact_ND = np.array(plain["vector"].drop_null().to_pylist(), np.float32)
    halves_ND = np.stack([np.frombuffer(blob, "<f2") for blob in blobs])
    # Numbers below 1 are half a unit of 2**-11 off at most.
    assert_allclose(halves_ND.astype(np.float32), exact_ND, atol=2**-12 + 1e-5)
    (loss,) = losses(tmp_path)
    assert loss == pytest.approx(cosine_loss(exact_ND, halves_ND), abs=1e-9)
    assert 0 < loss < 1e-6


@pytest.mark.parametrize("cuts", [[1, 1, 5], [9, 10], [0, 15, 16]])
def test_where_batches_and_windows_end_does_not_matter(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: list[int]
) -> None:
    whole = build.run_task(make_packing(tmp_path / "whole"), as_table(TEXTS))
    # A window of nulls alone among them.
    monkeypatch.setattr(encode, "_WINDOW", 1)
    pieces = build.run_task(make_packing(tmp_path / "pieces"), as_table(TEXTS), cuts)
    assert pieces["text_key"].to_pylist() == whole["text_key"].to_pylist()
    assert pieces["reason"].to_pylist() == whole["reason"].to_pylist()
    for a, b in zip(pieces["vector_f16"].to_pylist(), whole["vector_f16"].to_pylist(), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            # Batches of other shapes round differently, by less than a step of a half.
            assert_allclose(np.frombuffer(a, "<f2"), np.frombuffer(b, "<f2"), atol=2**-11)
    assert losses(tmp_path / "pieces") == pytest.approx(losses(tmp_path / "whole"), abs=1e-7)


def test_a_task_of_nothing_but_nulls_and_one_without_rows(build: Any, tmp_path: Path) -> None:
    made = build.run_task(make_packing(tmp_path / "nulls"), as_table([None, None]))
    assert made["vector_f16"].to_pylist() == [None, None]
    assert made["reason"].to_pylist() == ["no text", "no text"]
    assert losses(tmp_path / "nulls") == [0.0]
    assert build.run_task(make_packing(tmp_path / "none"), as_table([])).num_rows == 0
    (state,) = read_progress(str(tmp_path / "none" / "pack"))
    assert state["rows"] == 0
