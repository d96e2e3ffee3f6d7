"""Runs a training function in several processes that Spark places: on this machine, or one or more an executor.

Knows nothing of torch or of what is trained: the function comes from above, and joins its group of processes itself
(`recsys_batch.training.loop.distributed.join_group`).
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from recsys_batch.contracts.errors import ConfigError

Result = TypeVar("Result")


def run_distributed(
    spark: SparkSession,
    function: Callable[..., Result],
    args: Sequence[Any],
    num_processes: int,
    use_gpu: bool,
) -> Result:
    """Call `function(*args)` in `num_processes` processes at once; return what the first one returns.

    In local mode the processes run beside the driver, else in the tasks of one barrier stage, which needs as many task
    slots at once; with `use_gpu` each gets a GPU, which Spark must have been given. Function, arguments and result
    travel by cloudpickle, so they are names, settings and numbers; data and weights lie in files that all processes
    see. Raises ConfigError for fewer than one process, RuntimeError with the end of their output where one fails.
    """
    if num_processes < 1:
        raise ConfigError(f"training needs at least one process, got {num_processes}")
    local = str(spark.sparkContext.master).split("[")[0] == "local"
    distributor = TorchDistributor(num_processes=num_processes, local_mode=local, use_gpu=use_gpu)
    # Annotated as optional there; the first process always returns what the function does.
    return cast(Result, distributor.run(function, *args))
