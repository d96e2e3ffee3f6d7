"""What the tasks of a stage take of an executor: fewer and fatter ones than Spark's settings give, where it pays.

An encoding task runs one model: it takes a whole GPU (or its share of one), or all cores of an executor without one.
Spark's name for this is a resource profile; one that asks for nothing but task resources runs on the executors that
are there, under a standalone, YARN or Kubernetes master, and not in local mode.
"""

from dataclasses import dataclass
from typing import Any

from pyspark.resource import ResourceProfile, ResourceProfileBuilder, TaskResourceRequests
from pyspark.sql import SparkSession

_MASTERS = ("spark://", "local-cluster", "yarn", "k8s://")


@dataclass(frozen=True)
class ClusterFacts:
    """What the executors of a session have."""

    master: str
    num_executors: int
    executor_cores: int
    """Cores of the smallest executor; 0 where none is known yet."""
    executor_gpus: int = 0
    dynamic: bool = False
    """Whether Spark starts and stops executors as it needs them."""

    @property
    def is_local(self) -> bool:
        """Whether driver and executors are one process."""
        return self.master.startswith("local") and not self.master.startswith("local-cluster")


@dataclass(frozen=True)
class TaskShare:
    """What one task takes, and how many run at a time."""

    cpus: int
    gpus: float
    tasks_at_once: int


def choose_share(facts: ClusterFacts, gpu_share: float = 1.0) -> TaskShare | None:
    """Return what an encoding task takes of an executor; None where Spark's own settings must do.

    `gpu_share` is the part of a GPU that a task takes: a whole number, or at most 0.5. Cores are divided among the
    tasks of an executor; one that has less than a core a GPU leaves GPUs unused.
    """
    if not facts.master.startswith(_MASTERS) or not facts.num_executors or not facts.executor_cores:
        return None
    wanted = int(facts.executor_gpus / gpu_share + 1e-9) if facts.executor_gpus else 1
    tasks = min(max(wanted, 1), facts.executor_cores)
    gpus = gpu_share if facts.executor_gpus else 0.0
    return TaskShare(facts.executor_cores // tasks, gpus, tasks * facts.num_executors)


def read_cluster(spark: SparkSession) -> ClusterFacts:
    """Return what the session's executors have, as far as they have registered."""
    conf = spark.sparkContext.getConf()
    cores = executor_cores(spark)
    configured = int(conf.get("spark.executor.cores", "0") or 0)
    return ClusterFacts(
        master=str(spark.sparkContext.master),
        num_executors=len(cores),
        executor_cores=configured or min(cores.values(), default=0),
        executor_gpus=int(conf.get("spark.executor.resource.gpu.amount", "0") or 0),
        dynamic=conf.get("spark.dynamicAllocation.enabled", "false") == "true",
    )


def executor_cores(spark: SparkSession) -> dict[str, int]:
    """Return the cores of each executor that is registered now, by its id; none in local mode."""
    # PySpark offers no list of executors; Spark's own status store, which feeds its web page, does.
    jsc: Any = spark.sparkContext._jsc
    listed = jsc.sc().statusStore().executorList(True)
    executors = [listed.apply(i) for i in range(listed.size())]
    return {str(e.id()): int(e.totalCores()) for e in executors if e.id() != "driver"}


def build_profile(share: TaskShare | None) -> ResourceProfile | None:
    """Return the profile that gives each task its share; None for none."""
    if share is None:
        return None
    requests = TaskResourceRequests().cpus(share.cpus)
    if share.gpus:
        requests = requests.resource("gpu", share.gpus)
    profile: ResourceProfile = ResourceProfileBuilder().require(requests).build
    return profile
