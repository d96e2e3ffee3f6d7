"""Encoding on a real standalone cluster: a model a worker process, and what a killed worker or executor changes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_batch.report.progress import count_model_loads, read_progress
from recsys_batch.workers.encode import EncodeTexts
from tests.conftest import ROOT
from tests.faults.encode_on_cluster import NUM_EXECUTORS, ROUNDS, SETTINGS, make_texts

PORT, CORES = "7189", 2
_DEADLINE_SECONDS = 240
_EXECUTOR = "CoarseGrainedExecutorBackend"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    env = os.environ | {"CLUSTER_PORT": PORT, "CLUSTER_CORES": str(CORES)}
    command = ["conf/spark/cluster.sh", "start"]
    started = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    try:
        assert started.returncode == 0, started.stderr
        yield f"spark://127.0.0.1:{PORT}"
    finally:
        subprocess.run(["conf/spark/cluster.sh", "stop"], cwd=ROOT, env=env, check=True, timeout=60)


@pytest.fixture(scope="module")
def rounds(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The folder of the three rounds, and the process killed in each."""
    folder = tmp_path_factory.mktemp("rounds")
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    script = ROOT / "tests/faults/encode_on_cluster.py"
    killed: dict[str, int] = {}
    with (folder / "log").open("w") as log:
        driver = subprocess.Popen([sys.executable, script, cluster, folder], env=env, stdout=log, stderr=log)
        try:
            for name in ("worker", "executor"):
                worker = wait_for_worker(folder / name, driver)
                killed[name] = worker.pid if name == "worker" else executor_of(worker).pid
                os.kill(killed[name], signal.SIGKILL)
                assert not (folder / f"{name}.parquet").exists()
            code = driver.wait(timeout=_DEADLINE_SECONDS)
        finally:
            driver.kill()
    assert code == 0, (folder / "log").read_text()[-3000:]
    return folder, killed


def wait_for_worker(folder: Path, driver: subprocess.Popen[bytes]) -> psutil.Process:
    """Wait until a task of the round has encoded its first window, and return its process."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < deadline and driver.poll() is None:
        for state in read_progress(folder.as_uri()):
            return psutil.Process(int(str(state["worker"]).rsplit(":", 1)[1]))
        time.sleep(0.02)
    log = (folder.parent / "log").read_text()[-3000:]
    pytest.fail(f"no worker was caught while it was encoding for {folder.name}: {log}")


def executor_of(worker: psutil.Process) -> psutil.Process:
    return next(parent for parent in worker.parents() if any(_EXECUTOR in part for part in parent.cmdline()))


@pytest.mark.long
def test_every_worker_process_loads_the_model_once(rounds: tuple[Path, dict[str, int]]) -> None:
    states = read_progress((rounds[0] / "calm").as_uri())
    assert len(states) == ROUNDS["calm"]
    assert sum(int(state["rows"]) for state in states) == 80
    workers = {state["worker"] for state in states}
    # A task takes all cores of an executor, so four tasks on two executors of two cores make two worker processes.
    assert count_model_loads(states) == len(workers) <= NUM_EXECUTORS


@pytest.mark.long
@pytest.mark.parametrize("victim", ["worker", "executor"])
def test_a_kill_in_the_middle_of_encoding_changes_no_vector(
    rounds: tuple[Path, dict[str, int]], expected: dict[str, np.ndarray], victim: str
) -> None:
    folder, killed = rounds
    assert not psutil.pid_exists(killed[victim])
    made = pq.read_table(folder / f"{victim}.parquet")
    keys = made["text_key"].to_pylist()
    assert sorted(keys) == sorted(expected)
    vectors = np.array(made["vector"].to_pylist())
    np.testing.assert_allclose(vectors, np.stack([expected[key] for key in keys]), atol=1e-5)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The vectors of an undisturbed run in this process."""
    task = EncodeTexts(SETTINGS, "document", "cpu", 2, tmp_path_factory.mktemp("here").as_uri())
    keys, texts = zip(*make_texts(), strict=True)
    batch = pa.record_batch([list(keys), list(texts)], names=["text_key", "text"])
    made = pa.Table.from_batches(task(iter([batch])))
    return dict(zip(made["text_key"].to_pylist(), np.array(made["vector"].to_pylist()), strict=True))
