"""Wrong settings are named: checks over facts as a driver collects them, no JVM."""

import dataclasses
from collections.abc import Mapping

import pytest

from recsys_batch.contracts.doctor_findings import Finding, failed, misset, passed, warned
from recsys_batch.contracts.errors import EXIT_INFRASTRUCTURE, EXIT_USAGE, RecsysBatchError
from recsys_batch.upkeep.doctor.diagnose import raise_faults
from recsys_batch.upkeep.doctor.driver_checks import DriverFacts, check_settings, check_versions
from tests.conftest import ROOT

GPU = {
    "spark.executor.resource.gpu.amount": "1",
    "spark.task.resource.gpu.amount": "0.25",
    "spark.executor.cores": "4",
    "spark.executor.resource.gpu.discoveryScript": "/opt/gpus.sh",
}


def read_conf(name: str) -> dict[str, str]:
    lines = (ROOT / "conf/spark" / name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split(None, 1) for line in lines if line.strip() and not line.startswith("#"))
    return {key: value.strip() for key, value in pairs}


LOCAL = read_conf("local.conf")
STANDALONE = read_conf("standalone.conf") | {"spark.master": "spark://host:7077"}


def facts(settings: Mapping[str, str], **changes: str) -> DriverFacts:
    return dataclasses.replace(DriverFacts("17.0.19", "4.2.0", "4.2.0", "4.4.0", "4.4.0", settings, 4), **changes)


def faults(found: list[Finding]) -> dict[str, Finding]:
    return {finding.setting: finding for finding in found if finding.verdict != "pass"}


@pytest.mark.parametrize("settings", [LOCAL, STANDALONE, STANDALONE | GPU | {"spark.master": "yarn"}])
def test_the_settings_that_we_ship_pass(settings: dict[str, str]) -> None:
    assert faults(check_settings(facts(settings))) == {}
    assert faults(check_versions(facts(settings))) == {}


@pytest.mark.parametrize(
    ("base", "changes", "setting", "verdict"),
    [
        (LOCAL, {"spark.master": "local[*]"}, "spark.master", "warn"),
        (LOCAL, {"spark.sql.session.timeZone": "Asia/Shanghai"}, "spark.sql.session.timeZone", "warn"),
        (LOCAL, {"spark.sql.shuffle.partitions": "200"}, "spark.sql.shuffle.partitions", "warn"),
        (LOCAL, {"spark.sql.extensions": "x.Y"}, "spark.sql.extensions", "fail"),
        (LOCAL, {"spark.sql.catalog.spark_catalog": ""}, "spark.sql.catalog.spark_catalog", "fail"),
        (LOCAL, {"spark.python.worker.reuse": "false"}, "spark.python.worker.reuse", "fail"),
        (LOCAL, {"spark.executor.resource.gpu.amount": "1"}, "spark.executor.resource.gpu.amount", "fail"),
        (LOCAL, {"spark.task.resource.gpu.amount": "1"}, "spark.task.resource.gpu.amount", "fail"),
        (STANDALONE, {"spark.executor.pyspark.memory": "2g"}, "spark.executor.pyspark.memory", "fail"),
        (STANDALONE, {"spark.task.maxFailures": "1"}, "spark.task.maxFailures", "fail"),
        (STANDALONE, {"spark.sql.shuffle.partitions": "3"}, "spark.sql.shuffle.partitions", "warn"),
        (STANDALONE, {"spark.dynamicAllocation.enabled": "true"}, "spark.dynamicAllocation.enabled", "warn"),
        (STANDALONE, {"spark.task.resource.gpu.amount": "1"}, "spark.task.resource.gpu.amount", "fail"),
        (STANDALONE | GPU, {"spark.task.resource.gpu.amount": "1"}, "spark.task.resource.gpu.amount", "warn"),
        (STANDALONE | GPU, {"spark.task.resource.gpu.amount": ""}, "spark.task.resource.gpu.amount", "fail"),
    ],
)
def test_a_wrong_setting_is_named_alone(
    base: dict[str, str], changes: dict[str, str], setting: str, verdict: str
) -> None:
    found = faults(check_settings(facts(base | changes)))
    assert list(found) == [setting]
    assert found[setting].verdict == verdict
    assert found[setting].advice


def test_a_cluster_without_discovery_script_is_named() -> None:
    settings = STANDALONE | GPU | {"spark.master": "k8s://https://host"}
    del settings["spark.executor.resource.gpu.discoveryScript"]
    assert list(faults(check_settings(facts(settings)))) == ["spark.executor.resource.gpu.discoveryScript"]


def test_the_share_of_a_gpu_to_set_is_the_gpus_by_the_cores() -> None:
    found = faults(check_settings(facts(STANDALONE | GPU | {"spark.task.resource.gpu.amount": "1"})))
    assert "set 0.25" in found["spark.task.resource.gpu.amount"].advice  # 1 GPU / 4 cores


@pytest.mark.parametrize(
    ("changes", "setting", "verdict"),
    [
        ({"java": "11.0.2"}, "JAVA_HOME", "fail"),
        ({"java": "1.8.0_402"}, "JAVA_HOME", "fail"),
        ({"java": "garbage"}, "JAVA_HOME", "fail"),
        ({"spark": "4.1.0"}, "SPARK_HOME", "fail"),
        ({"delta_jars": ""}, "spark.jars", "fail"),
        ({"delta_jars": "4.3.0"}, "spark.jars", "fail"),
        ({"delta_jars": "4.5.0", "delta_package": "4.5.0"}, "spark.jars", "warn"),
    ],
)
def test_a_wrong_version_is_named(changes: dict[str, str], setting: str, verdict: str) -> None:
    found = faults(check_versions(facts(LOCAL, **changes)))
    assert {name: finding.verdict for name, finding in found.items()} == {setting: verdict}


def test_java_21_passes() -> None:
    assert faults(check_versions(facts(LOCAL, java="21.0.3"))) == {}


@pytest.mark.parametrize(
    ("found", "code", "named"),
    [
        ([passed("a", 1), warned("b", 2, "set 3")], 0, ""),
        ([failed("b", 2, "mend"), passed("a", 1)], EXIT_INFRASTRUCTURE, "b is 2; mend"),
        ([misset("c", 2, "set 3")], EXIT_USAGE, "c is 2; set 3"),
        # What a setting mends comes first: its effects may be the other faults.
        ([failed("b", 2, "mend"), misset("c", 2, "set 3")], EXIT_USAGE, "c is 2; set 3"),
    ],
)
def test_faults_end_with_the_code_of_their_kind(found: list[Finding], code: int, named: str) -> None:
    if not code:
        raise_faults(found)
        return
    with pytest.raises(RecsysBatchError) as caught:
        raise_faults(found)
    assert caught.value.exit_code == code
    assert str(caught.value) == named
