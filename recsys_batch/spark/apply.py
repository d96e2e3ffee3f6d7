"""Runs a worker task over the partitions of a frame; the only place that knows Spark's task context."""

from collections.abc import Iterator

import pyarrow as pa
from pyspark import TaskContext
from pyspark.resource import ResourceProfile
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema

from recsys_batch.contracts.worker_task import TaskInfo, WorkerTask, running_task


def map_batches(
    frame: DataFrame, task: WorkerTask, profile: ResourceProfile | None = None, together: bool = False
) -> DataFrame:
    """Map the partitions of `frame` with `task` through `mapInArrow`.

    `profile` says what each task takes of an executor (`spark.resources.encode_profile`); without one Spark's settings
    say it. With `together` all tasks run at the same time or not at all.
    """

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with running_task(read_task_info()):
            yield from task(batches)

    return frame.mapInArrow(run, from_arrow_schema(task.output_schema), barrier=together, profile=profile)


def read_task_info() -> TaskInfo:
    """Return where the running Spark task is; the defaults outside of one."""
    context = TaskContext.get()
    if context is None:
        return TaskInfo()
    gpu = context.resources().get("gpu")
    return TaskInfo(
        partition=context.partitionId(),
        attempt=context.attemptNumber(),
        cpus=context.cpus(),
        gpu_addresses=tuple(gpu.addresses) if gpu is not None else (),
    )
