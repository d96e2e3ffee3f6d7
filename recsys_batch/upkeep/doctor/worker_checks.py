"""Checks of what the executors' Python processes see, as functions of the facts that they report."""

import re
from collections.abc import Sequence

from recsys_batch.contracts.doctor_findings import Finding, failed, misset, passed, warned
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.upkeep.doctor.driver_checks import DriverFacts
from recsys_batch.workers.devices import find_device
from recsys_batch.workers.probe import MachineFacts

_GIB = 2**30
# Measured for a worker with torch and transformers imported and no weights.
_WORKER_BYTES = int(1.1 * _GIB)
_MIN_OVERHEAD = 384 * 2**20
_DEFAULT_FACTOR = {"k8s": 0.4}
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_AMOUNT = re.compile(r"^(\d+)([bkmgt])?b?$")


def check_workers(
    driver: DriverFacts, here: MachineFacts, workers: Sequence[MachineFacts], num_executors: int, device: str
) -> list[Finding]:
    """Return all findings about the workers, `here` being the driver's own process."""
    return [
        check_coverage(workers, num_executors),
        check_python(here, workers),
        *check_packages(here, workers),
        check_model(here, workers),
        check_lake(workers),
        *check_gpus(driver, workers, device),
    ]


def check_coverage(workers: Sequence[MachineFacts], num_executors: int) -> Finding:
    """Every executor answered."""
    value = f"{len({w.worker for w in workers})} worker process(es), {num_executors} executor(s)"
    if len({w.worker for w in workers}) >= max(num_executors, 1):
        return passed("executors", value)
    return warned("executors", value, "run doctor again: not every executor was asked")


def check_python(here: MachineFacts, workers: Sequence[MachineFacts]) -> Finding:
    """All workers run the driver's Python, path and version."""
    value = f"{here.executable} ({here.python})"
    for worker in workers:
        if worker.python != here.python:
            return failed(
                "PYSPARK_PYTHON",
                f"{worker.executable} ({worker.python}) on {worker.worker}",
                f"set it to the project's interpreter, which is {value} on the driver",
            )
        if worker.executable != here.executable:
            return warned(
                "PYSPARK_PYTHON",
                f"{worker.executable} on {worker.worker}",
                f"set it to {here.executable}, the driver's, unless the same packages are installed in both",
            )
    return passed("PYSPARK_PYTHON", value)


def check_packages(here: MachineFacts, workers: Sequence[MachineFacts]) -> list[Finding]:
    """All workers have the driver's versions."""
    wrong = []
    for name, version in here.packages.items():
        others = {w.packages.get(name, "not installed"): w.worker for w in workers}
        if others.keys() - {version}:
            text = ", ".join(f"{found} on {worker}" for found, worker in others.items() if found != version)
            wrong.append(failed(name, f"{version} on the driver, {text}", "install the driver's version on every node"))
    versions = ", ".join(
        f"{name} {here.packages[name]}" for name in ("recsys_batch", "torch", "transformers", "pyarrow")
    )
    return wrong or [passed("packages", versions)]


def check_model(here: MachineFacts, workers: Sequence[MachineFacts]) -> Finding:
    """The model's files are whole, and the same on every worker."""
    for facts in (here, *workers):
        where = "the driver" if facts is here else facts.worker
        if facts.model_error:
            return failed("encoder.model", f"{where}: {facts.model_error}", "put the same model files on every node")
    for worker in workers:
        if worker.fingerprint != here.fingerprint:
            value = f"{worker.fingerprint[:12]} on {worker.worker}, {here.fingerprint[:12]} on the driver"
            return failed("encoder.model", value, "copy the driver's model files to every node")
    return passed("encoder.model", f"{here.fingerprint[:12]} everywhere")


def check_lake(workers: Sequence[MachineFacts]) -> Finding:
    """Every worker can write below lake.root."""
    for worker in workers:
        if worker.lake_error:
            return misset(
                "lake.root", f"{worker.worker}: {worker.lake_error}", "name a path that every node can write to"
            )
    return passed("lake.root", "every worker writes there")


def check_gpus(driver: DriverFacts, workers: Sequence[MachineFacts], device: str) -> list[Finding]:
    """What Spark assigns is what torch sees."""
    name = "spark.executor.resource.gpu.amount"
    granted = 0 if driver.is_local else float(driver.settings.get(name, 0) or 0)
    for worker in workers:
        if (granted or device.startswith("cuda")) and not worker.num_gpus:
            setting = name if granted else "encoder.device"
            value = f"{granted:g}" if granted else device
            advice = (
                "install torch with CUDA and the driver on every node, or remove this and set encoder.device to cpu"
            )
            return [misset(setting, f"{value}, but torch on {worker.worker} sees no GPU", advice)]
        if granted and device != "cpu" and not worker.gpu_addresses:
            return [
                misset(name, f"{granted:g}, but a task on {worker.worker} got no address", "check the discovery script")
            ]
        for address in worker.gpu_addresses:
            try:
                find_device(address, worker.visible_devices, worker.num_gpus)
            except ConfigError as error:
                return [misset("spark.executor.resource.gpu.discoveryScript", address, str(error))]
        if worker.num_gpus and not granted and not driver.is_local and device != "cpu":
            advice = f"set {name} (and of the task), or executors of one machine wait for each other's locks"
            return [warned(name, f"not set, but {worker.worker} has {worker.num_gpus} GPU(s)", advice)]
    value = ", ".join(f"{w.num_gpus} on {w.worker}" for w in workers if w.num_gpus)
    return [passed("GPUs", value or "none; texts are encoded on the CPU")]


def check_memory(driver: DriverFacts, model_bytes: int, workers_per_executor: int, machine_bytes: int) -> Finding:
    """What Python needs beside the JVM of an executor is set aside.

    A container manager (YARN, Kubernetes) ends an executor that takes more; a standalone master only counts on it.
    """
    name = "spark.executor.memoryOverhead"
    needed = workers_per_executor * (_WORKER_BYTES + model_bytes)
    jvm = to_bytes(driver.settings.get("spark.driver.memory" if driver.is_local else "spark.executor.memory", "1g"))
    if driver.is_local or driver.master.startswith("spark://"):
        value = f"{jvm / _GIB:.1f} GiB JVM + {needed / _GIB:.1f} GiB Python of {machine_bytes / _GIB:.1f} GiB"
        if jvm + needed > machine_bytes:
            lower = "spark.driver.memory" if driver.is_local else "spark.executor.memory"
            return warned(lower, value, "lower it, or encode on a machine with more memory")
        return passed("memory of a machine", value)
    factor = float(
        driver.settings.get("spark.executor.memoryOverheadFactor", _DEFAULT_FACTOR.get(driver.master[:3], 0.1))
    )
    default = max(int(factor * jvm), _MIN_OVERHEAD)
    given = to_bytes(driver.settings[name], "m") if name in driver.settings else default
    value = f"{given / _GIB:.1f} GiB" + ("" if name in driver.settings else " (by default)")
    if given >= needed:
        return passed(name, value)
    advice = (
        f"set at least {-(-needed // 2**20)}m: {workers_per_executor} encoding worker(s) of 1.1 GiB and their model"
    )
    return misset(name, value, advice)


def to_bytes(amount: str, unit: str = "b") -> int:
    """Return the bytes of an amount as Spark writes it, such as 2g; a bare number is in `unit`."""
    match = _AMOUNT.match(amount.strip().lower())
    if match is None:
        raise ConfigError(f"{amount!r} is no amount of memory; write a number and k, m, g or t, such as 2g")
    return int(match.group(1)) * _UNITS[match.group(2) or unit]


def explain_probe_failure(message: str, python: str) -> Finding:
    """Return what the error of a probe says about the workers' Python, named `python`."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    patterns = {
        r"Cannot run program.*": "set it to an interpreter that exists at this path on every node",
        r".*PYTHON_VERSION_MISMATCH.*|.*different version in worker.*": "set it to the driver's version of Python",
        r".*No module named .*": "set it to the environment in which the project is installed, on every node",
    }
    for pattern, advice in patterns.items():
        for line in lines:
            if match := re.search(pattern, line):
                return failed("PYSPARK_PYTHON", f"{python}: {match.group(0)[:200]}", advice)
    return failed("worker processes", lines[0][:300] if lines else "no message", "see the executors' logs")
