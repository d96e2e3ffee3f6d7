"""Runs a worker task over the partitions of a frame; the only place that knows Spark's task context."""

from collections.abc import Iterator

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema

from recsys_batch.contracts.task import TaskInfo, WorkerTask, enter_task


def map_batches(frame: DataFrame, task: WorkerTask) -> DataFrame:
    """Map the partitions of `frame` with `task` through `mapInArrow`."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        enter_task(_task_info())
        yield from task(batches)

    return frame.mapInArrow(run, from_arrow_schema(task.output_schema))


def _task_info() -> TaskInfo:
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
