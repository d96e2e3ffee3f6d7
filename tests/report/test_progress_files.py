"""What the driver reads of running tasks, from files that `workers.progress.ProgressFile` writes for real."""

import contextvars
import json
import logging
from pathlib import Path

import pytest

from recsys_batch.contracts.worker_task import TaskInfo, enter_task
from recsys_batch.report import progress
from recsys_batch.report.progress import count_model_loads, read_progress, watch
from recsys_batch.workers.progress import ProgressFile, worker_id


def work(folder: str, partition: int, batches: list[int], close: bool = True, **counters: float) -> None:
    """Do what a task of this partition does with its progress file."""

    def run() -> None:
        enter_task(TaskInfo(partition=partition))
        file = ProgressFile(folder)
        for rows in batches:
            file.advance(rows, **counters)
        if close:
            file.write()

    contextvars.copy_context().run(run)


@pytest.mark.parametrize("as_uri", [True, False])
def test_each_task_reports_its_rows_and_counters(tmp_path: Path, as_uri: bool) -> None:
    path = tmp_path / "进度 1" / "encode"
    folder = f"file://{path}" if as_uri else str(path)
    work(folder, 0, [3, 4], model_loads=1, tokens=70)
    work(folder, 11, [], model_loads=9)
    states = sorted(read_progress(folder), key=lambda state: state["rows"])
    assert [state["rows"] for state in states] == [0, 7]
    assert states[1] | {"seconds": 0} == {
        "rows": 7,
        "seconds": 0,
        "worker": worker_id(),
        "model_loads": 1,
        "tokens": 70,
    }
    assert all(0 <= state["seconds"] < 60 for state in states)
    assert sorted(file.name for file in path.iterdir()) == ["00000.json", "00011.json"]


def test_a_folder_that_no_task_wrote_to_yet_is_no_progress(tmp_path: Path) -> None:
    assert read_progress(str(tmp_path / "nobody")) == []


def test_a_retried_task_replaces_its_own_state(tmp_path: Path) -> None:
    work(str(tmp_path), 2, [100])
    work(str(tmp_path), 2, [5, 6])
    assert [state["rows"] for state in read_progress(str(tmp_path))] == [11]


def test_a_half_written_file_is_not_read(tmp_path: Path) -> None:
    work(str(tmp_path), 0, [1])
    (tmp_path / "00001.json.part").write_text('{"rows": 1', encoding="utf-8")
    assert [state["rows"] for state in read_progress(str(tmp_path))] == [1]


def test_a_running_task_is_seen_at_once_and_then_every_few_seconds(tmp_path: Path) -> None:
    # The second batch comes within the two seconds that writes are apart.
    work(str(tmp_path), 0, [10, 20], close=False)
    assert [state["rows"] for state in read_progress(str(tmp_path))] == [10]


def test_loads_are_what_the_tasks_had_to_load() -> None:
    states = [
        {"worker": "host-1:10", "rows": 5, "model_loads": 1},
        {"worker": "host-1:10", "rows": 5, "model_loads": 0},  # found it loaded
        {"worker": "host-2:10", "rows": 5, "model_loads": 1},
        {"worker": "host-2:11", "rows": 0},  # had no rows
    ]
    assert count_model_loads(states) == 1 + 1
    assert count_model_loads([]) == 0


def test_progress_is_logged_while_the_block_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.01)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False)
    work(str(tmp_path), 0, [400])
    work(str(tmp_path), 1, [1000])
    caplog.set_level(logging.INFO, logger=progress.log.name)
    with watch(str(tmp_path), "encode items", total=2800):
        for _ in range(500):
            if caplog.messages:
                break
            progress.time.sleep(0.01)
    assert caplog.messages[0].startswith("encode items: 1,400 of 2,800 rows, ")
    logged = len(caplog.messages)
    progress.time.sleep(0.05)
    assert len(caplog.messages) == logged


def test_a_failing_block_fails_as_itself(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="lost"), watch(str(tmp_path), "encode", total=1):
        raise KeyError("lost")


def test_states_are_json_that_any_program_reads(tmp_path: Path) -> None:
    work(str(tmp_path), 7, [2], over_cap=3)
    state = json.loads((tmp_path / "00007.json").read_bytes())
    assert (state["rows"], state["over_cap"]) == (2, 3)
