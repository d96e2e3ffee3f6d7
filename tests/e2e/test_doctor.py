"""The doctor as it is run: all well here, and a wrong interpreter of the workers by its name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_batch.contracts.errors import EXIT_INFRASTRUCTURE, EXIT_USAGE
from tests.conftest import ROOT


def run_doctor(lake: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = ["spark-submit", "--properties-file", "conf/spark/local.conf", *options]
    command += ["jobs/doctor.py", "--config", "conf/demo.yaml", "--set", f"lake.root={lake}"]
    return subprocess.run(command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_all_is_well_in_local_mode(tmp_path: Path) -> None:
    done = run_doctor(tmp_path / "lake")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "0 fail" in done.stdout
    for setting in ("JAVA_HOME", "spark.jars", "PYSPARK_PYTHON", "encoder.model", "lake.root", "spark.master"):
        assert setting in done.stdout
    assert list((tmp_path / "lake").glob("doctor-*")) == []


@pytest.mark.long
def test_a_wrong_interpreter_of_the_workers_is_named(tmp_path: Path) -> None:
    wrong = {"PYSPARK_DRIVER_PYTHON": sys.executable, "PYSPARK_PYTHON": "/no/such/python"}
    done = run_doctor(tmp_path / "lake", **wrong)
    assert done.returncode == EXIT_INFRASTRUCTURE, done.stdout[-3000:]
    assert "UnfitMachineError\nPYSPARK_PYTHON is /no/such/python" in done.stdout


@pytest.mark.slow
def test_gpu_settings_in_local_mode_are_named(tmp_path: Path) -> None:
    options = ("--conf", "spark.task.resource.gpu.amount=1", "--conf", "spark.executor.pyspark.memory=1g")
    done = run_doctor(tmp_path / "lake", *options)
    assert done.returncode == EXIT_USAGE, done.stdout[-3000:]
    assert "WrongSettingsError\nspark.executor.pyspark.memory is 1g" in done.stdout
    assert "spark.task.resource.gpu.amount is 1; remove it" in done.stdout
