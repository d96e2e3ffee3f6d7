"""Checks of Java, Spark, Delta Lake and the settings, as functions of the facts that the driver collects."""

from collections.abc import Mapping
from dataclasses import dataclass

from recsys_batch.contracts.doctor_findings import Finding, failed, misset, passed, warned

_JAVA_VERSIONS = (17, 21)
_DELTA_OF_PYSPARK = {"4.2.0": "4.4.0"}
_DELTA_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
_DEFAULT_SHUFFLE_PARTITIONS = 200
_LOCAL_ATTEMPTS = "local[*,4]"


@dataclass(frozen=True)
class DriverFacts:
    """What the driver's session says of itself."""

    java: str
    """As the JVM gives it, such as 17.0.19."""
    spark: str
    """Version of Spark's jars."""
    pyspark: str
    delta_package: str
    """Version of the Python package delta-spark."""
    delta_jars: str
    """Version of Delta's jars; empty where they do not load."""
    settings: Mapping[str, str]
    """Spark's settings as they were given, before the job sets its own."""
    parallelism: int

    @property
    def master(self) -> str:
        """Spark's master."""
        return self.settings.get("spark.master", "")

    @property
    def is_local(self) -> bool:
        """Whether driver and executors are one process."""
        return self.master.startswith("local") and not self.master.startswith("local-cluster")


def check_versions(facts: DriverFacts) -> list[Finding]:
    """Return the findings about what runs."""
    return [check_java(facts), check_spark(facts), check_delta_jars(facts)]


def check_settings(facts: DriverFacts) -> list[Finding]:
    """Return the findings about Spark's settings; they need no running session."""
    return [
        *check_delta_settings(facts),
        check_time_zone(facts),
        check_pyspark_memory(facts),
        check_attempts(facts),
        check_worker_reuse(facts),
        check_shuffle_partitions(facts),
        check_dynamic_allocation(facts),
        *check_gpu_settings(facts),
    ]


def check_java(facts: DriverFacts) -> Finding:
    """Spark 4 runs on Java 17 and 21."""
    numbers = facts.java.removeprefix("1.").split(".")
    major = int(numbers[0]) if numbers[0].isdecimal() else 0
    if major in _JAVA_VERSIONS:
        return passed("JAVA_HOME", f"Java {facts.java}")
    return failed("JAVA_HOME", f"Java {facts.java}", "point it to Java 17 or 21 on every node")


def check_spark(facts: DriverFacts) -> Finding:
    """The Python package talks to jars of its own version alone."""
    value = f"pyspark {facts.pyspark}, jars {facts.spark}"
    if facts.pyspark == facts.spark:
        return passed("SPARK_HOME", value)
    return failed("SPARK_HOME", value, "unset it, or install the pyspark of the cluster's version")


def check_delta_jars(facts: DriverFacts) -> Finding:
    """Delta's jars are there, of the Python package's version."""
    tested = _DELTA_OF_PYSPARK.get(facts.pyspark)
    value = f"delta-spark {facts.delta_package}, jars {facts.delta_jars or 'not loadable'}"
    if not facts.delta_jars:
        coordinates = f"io.delta:delta-spark_4.2_2.13:{tested or facts.delta_package}"
        return misset(
            "spark.jars", value, f"name the jars that `make setup` fetches; or spark.jars.packages {coordinates}"
        )
    if facts.delta_jars != facts.delta_package:
        return misset("spark.jars", value, f"give the jars of version {facts.delta_package}")
    if tested != facts.delta_package:
        return warned("spark.jars", f"{value}, pyspark {facts.pyspark}", f"tested together: {_DELTA_OF_PYSPARK}")
    return passed("spark.jars", value)


def check_delta_settings(facts: DriverFacts) -> list[Finding]:
    """The session uses Delta Lake."""
    found = []
    for name, needed in _DELTA_SETTINGS.items():
        value = facts.settings.get(name, "")
        found.append(
            passed(name, value) if needed in value.split(",") else misset(name, value or "not set", f"set {needed}")
        )
    return found


def check_time_zone(facts: DriverFacts) -> Finding:
    """Jobs set UTC themselves; another value here misleads whoever reads the tables with these settings."""
    zone = facts.settings.get("spark.sql.session.timeZone", "")
    if zone == "UTC":
        return passed("spark.sql.session.timeZone", zone)
    return warned("spark.sql.session.timeZone", zone or "not set", "set UTC, as the jobs do whatever stands here")


def check_pyspark_memory(facts: DriverFacts) -> Finding:
    """A limit of the address space breaks CUDA and large models."""
    name = "spark.executor.pyspark.memory"
    if name not in facts.settings:
        return passed(name, "not set")
    return misset(name, facts.settings[name], "leave it unset and size spark.executor.memoryOverhead instead")


def check_attempts(facts: DriverFacts) -> Finding:
    """A worker process that dies must not end the night."""
    if facts.is_local:
        if facts.master.count(",") == 1:
            return passed("spark.master", facts.master)
        advice = f"write {_LOCAL_ATTEMPTS}: without a number of attempts local mode never retries a task"
        return warned("spark.master", facts.master, advice)
    name, value = "spark.task.maxFailures", facts.settings.get("spark.task.maxFailures", "4 (Spark's default)")
    attempts = value.split(" ")[0]
    if attempts.isdecimal() and int(attempts) > 1:
        return passed(name, value)
    return misset(name, value, "set 4, so that a task whose worker dies is tried again")


def check_worker_reuse(facts: DriverFacts) -> Finding:
    """Without reuse every task loads the model."""
    name, value = "spark.python.worker.reuse", facts.settings.get("spark.python.worker.reuse", "true")
    if value == "true":
        return passed(name, value)
    return misset(name, value, "set true: a worker process keeps its model from task to task")


def check_shuffle_partitions(facts: DriverFacts) -> Finding:
    """Too many cost seconds a query in local mode, too few leave cores idle on a cluster."""
    name = "spark.sql.shuffle.partitions"
    number = int(facts.settings.get(name, _DEFAULT_SHUFFLE_PARTITIONS))
    if facts.is_local and number >= _DEFAULT_SHUFFLE_PARTITIONS:
        return warned(name, number, f"set about {facts.parallelism * 2}: each costs time, and the tables are small")
    if number < facts.parallelism:
        return warned(name, number, f"set at least {facts.parallelism}, the cores of the executors")
    return passed(name, number)


def check_dynamic_allocation(facts: DriverFacts) -> Finding:
    """Under dynamic allocation the encoding stages start executors of their own."""
    name, value = "spark.dynamicAllocation.enabled", facts.settings.get("spark.dynamicAllocation.enabled", "false")
    if value == "false" or facts.is_local:
        return passed(name, value)
    return warned(name, value, "set false, or expect the encoding stages to start executors of their own profile")


def check_gpu_settings(facts: DriverFacts) -> list[Finding]:
    """GPU settings that Spark refuses, or that waste GPUs, before any worker is asked."""
    given = {name: value for name, value in facts.settings.items() if ".resource.gpu." in name}
    amount, of_task = "spark.executor.resource.gpu.amount", "spark.task.resource.gpu.amount"
    if facts.is_local:
        advice = "remove it: local mode has no executors to give GPUs to; workers find and lock them by themselves"
        return [misset(name, value, advice) for name, value in sorted(given.items())]
    if amount not in given:
        return [misset(n, v, f"set {amount} too, or remove it") for n, v in sorted(given.items())]
    found = [passed(amount, given[amount])]
    script = "spark.executor.resource.gpu.discoveryScript"
    if script not in given and not facts.master.startswith(("spark://", "local-cluster")):
        found.append(
            misset(
                script, "not set", "name a script that prints the GPU addresses, such as Spark's getGpusResources.sh"
            )
        )
    cores = float(facts.settings.get("spark.executor.cores", 0) or 0)
    task = float(given.get(of_task, 0) or 0)
    if not task:
        found.append(misset(of_task, "not set", f"set 1 / spark.executor.cores; {amount} needs it"))
    elif cores and task * cores > float(given[amount]):
        advice = f"set {float(given[amount]) / cores:.4g}: now the stages without a model leave cores idle"
        found.append(warned(of_task, given[of_task], advice))
    else:
        found.append(passed(of_task, given[of_task]))
    return found
