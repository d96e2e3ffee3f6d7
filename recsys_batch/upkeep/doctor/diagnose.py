"""The doctor's round: settings, driver, lake, executors; each step only where the one before lets it run."""

import os
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any
from uuid import uuid4

import pyspark
from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.doctor_findings import Finding, failed, misset, passed, warned
from recsys_batch.contracts.errors import EXIT_USAGE, ConfigError, RecsysBatchError
from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.nn.files.find import resolve_model
from recsys_batch.rules.pseudonyms import read_key
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.lake.files import delete_folder
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.resources import ClusterFacts, build_profile, choose_share, read_cluster
from recsys_batch.spark.session import get_session
from recsys_batch.upkeep.doctor.driver_checks import DriverFacts, check_settings, check_versions
from recsys_batch.upkeep.doctor.worker_checks import check_memory, check_workers, explain_probe_failure
from recsys_batch.workers.models import weight_bytes
from recsys_batch.workers.probe import MachineFacts, ProbeMachine, describe_machine

FindEncoder = Callable[[Config], tuple[EncoderSettings, str]]
_SECONDS_FOR_EXECUTORS = 60.0


class WrongSettingsError(ConfigError):
    """The doctor found settings with which a night would fail."""


class UnfitMachineError(RecsysBatchError):
    """The doctor found a machine, or what is installed there, with which a night would fail."""


def diagnose(config: Config, find_encoder: FindEncoder, open_session: Callable[[], SparkSession]) -> list[Finding]:
    """Return what the doctor finds for this config and the session that `spark-submit` configures; it is stopped."""
    findings = [check_pseudonyms(config)]
    encoder, finding = _look_for_encoder(config, find_encoder)
    findings.append(finding)
    settings: dict[str, str] = {}
    try:
        # Without it a SparkConf knows nothing of what spark-submit was given.
        SparkContext._ensure_initialized()
        settings |= SparkConf().getAll()
        spark = open_session()
    except Exception as error:  # noqa: BLE001 - whatever Spark raises, its settings are looked at
        unknown = DriverFacts("", "", "", "", "", settings, 1)
        return [*findings, *check_settings(unknown), failed("Spark session", _first_line(error), "see the lines above")]
    try:
        driver = read_driver(spark, settings)
        found = [*check_versions(driver), *check_settings(driver)]
        if any(finding.verdict == "fail" for finding in found):
            # With some of these settings Spark waits forever for executors.
            found.append(warned("executors", "not asked", "mend what failed, and run doctor again"))
        else:
            found += _look_at_executors(get_session("recsys-batch doctor"), config, encoder, driver)
    finally:
        spark.stop()
    return [*findings, *found]


def raise_faults(findings: Sequence[Finding]) -> None:
    """Raise WrongSettingsError or UnfitMachineError where a check failed, naming the settings; settings come first."""
    faults = [found for found in findings if found.verdict == "fail"]
    chosen = [found for found in faults if found.is_config] or faults
    if chosen:
        text = "\n".join(f"{found.setting} is {found.value}; {found.advice}" for found in chosen)
        raise (WrongSettingsError if chosen[0].is_config else UnfitMachineError)(text)


def check_pseudonyms(config: Config) -> Finding:
    """The secret of the pseudonyms is there."""
    name, variable = "prepare.pseudonymize_with", config.prepare.pseudonymize_with
    if not variable:
        return passed(name, "not set: ids stay as they are")
    try:
        read_key(variable, os.environ)
    except ConfigError as error:
        return misset(name, variable, str(error).removeprefix(f"{name}: "))
    return passed(name, variable)


def read_driver(spark: SparkSession, settings: dict[str, str]) -> DriverFacts:
    """Return the session's facts; `settings` are those that were given before it started."""
    jvm: Any = spark.sparkContext._jvm
    try:
        delta_jars = str(getattr(getattr(jvm.io.delta, "package$"), "MODULE$").VERSION())
    except (Py4JError, TypeError, AttributeError):  # what py4j calls a class that is not there
        delta_jars = ""
    try:
        delta_package = metadata.version("delta-spark")
    except metadata.PackageNotFoundError:
        delta_package = "not installed"
    java = str(jvm.java.lang.System.getProperty("java.version"))
    given = settings | {"spark.master": str(spark.sparkContext.master)}
    parallelism = spark.sparkContext.defaultParallelism
    return DriverFacts(java, spark.version, pyspark.__version__, delta_package, delta_jars, given, parallelism)


def _look_for_encoder(config: Config, find_encoder: FindEncoder) -> tuple[EncoderSettings | None, Finding]:
    try:
        settings, address = find_encoder(config)
    except (RecsysBatchError, ValueError) as error:
        config_is_wrong = getattr(error, "exit_code", EXIT_USAGE) == EXIT_USAGE
        fault = misset if config_is_wrong else failed
        return None, fault("encoder.model", config.encoder.model, str(error))
    return settings, passed("encoder", f"{settings.model} {settings.dtype} {address[:12]}")


def _look_at_executors(
    spark: SparkSession, config: Config, encoder: EncoderSettings | None, driver: DriverFacts
) -> list[Finding]:
    cluster = _wait_for_executors(spark)
    if not cluster.is_local and not cluster.num_executors:
        advice = (
            f"no executor came within {_SECONDS_FOR_EXECUTORS:.0f} s: see whether spark.executor.memory and .cores fit"
        )
        return [failed("spark.master", driver.master, advice)]
    # Delta's log is written by executors too, so it comes after them.
    folder = f"{Lake.at(spark, config.lake.root).root}/doctor-{uuid4().hex[:8]}"
    try:
        findings = [_check_table(spark, f"{folder}/table")]
        here = describe_machine(encoder, f"{folder}/driver")
        try:
            workers = _probe(spark, cluster, ProbeMachine(encoder, f"{folder}/workers"))
        except (PySparkException, Py4JError) as error:
            return [*findings, explain_probe_failure(str(error), spark.sparkContext.pythonExec)]
        executors = 1 if cluster.is_local else cluster.num_executors
        findings += check_workers(driver, here, workers, executors, config.encoder.device)
        share = choose_share(cluster)
        tasks = config.encoder.workers or 1 if share is None else share.tasks_at_once // cluster.num_executors
        size = 0 if encoder is None else weight_bytes(encoder, resolve_model(encoder.model, encoder.revision))
        findings.append(check_memory(driver, size, max(tasks, 1), min(w.memory_bytes for w in workers)))
    finally:
        delete_folder(spark, folder)
    return findings


def _wait_for_executors(spark: SparkSession) -> ClusterFacts:
    """Return the cluster once the number of its executors stands still, or after a minute."""
    deadline, before = time.monotonic() + _SECONDS_FOR_EXECUTORS, -1
    while True:
        cluster = read_cluster(spark)
        if (
            cluster.is_local
            or time.monotonic() > deadline
            or (cluster.num_executors and cluster.num_executors == before)
        ):
            return cluster
        before = cluster.num_executors
        time.sleep(2)


def _probe(spark: SparkSession, cluster: ClusterFacts, task: ProbeMachine) -> list[MachineFacts]:
    """Return the facts of a worker process of every executor.

    Each task takes a whole executor and all run together, so that no executor gets two; Spark allows neither in local
    mode, nor the latter under dynamic allocation.
    """
    share = choose_share(cluster)
    number = share.tasks_at_once if share is not None else 1
    rows = spark.range(number * 8).repartition(number)
    probed = map_batches(rows, task, build_profile(share), together=share is not None and not cluster.dynamic)
    return [MachineFacts.from_json(row.facts) for row in probed.collect()]


def _check_table(spark: SparkSession, path: str) -> Finding:
    """Write a Delta table of two versions below lake.root, and read it back."""
    try:
        for number in (3, 4):
            spark.range(number).coalesce(1).write.format("delta").mode("append").save(path)
        rows = spark.read.format("delta").load(path).count()
        first = spark.read.format("delta").option("versionAsOf", 0).load(path).count()
    except (PySparkException, Py4JError) as error:
        return failed("lake.root", f"{path}: {_first_line(error)}", "make the folder writable, or name another")
    if (rows, first) != (7, 3):
        return failed(
            "lake.root", f"{path}: {rows} and {first} rows instead of 7 and 3", "use a consistent file system"
        )
    return passed("lake.root", f"a Delta table was written and read at {path.rsplit('/', 2)[0]}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
