"""Item factors by Spark's alternating least squares, as a baseline."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession

_BLOCKS = 4
_ITERATIONS_KEPT = 3


def item_factors(
    spark: SparkSession,
    keys_P: npt.NDArray[np.int64],
    items_P: npt.NDArray[np.int64],
    num_items: int,
    checkpoints: str,
    *,
    rank: int,
    alpha: float,
    l2: float,
    iterations: int = 10,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Return the factors (num_items, rank) of implicit ALS over distinct (key, item) pairs; 0 for an item without any.

    Hu, Koren and Volinsky, 2008, as `pyspark.ml` has it. `checkpoints` is the URI of a folder that all workers reach:
    without them every iteration makes the plan longer, until a task that carries it overflows its stack.
    """
    spark.sparkContext.setCheckpointDir(checkpoints)
    pairs = pa.table({"key": keys_P.astype(np.int32), "item": items_P.astype(np.int32)})
    pairs = pairs.append_column("rating", pa.array(np.ones(len(keys_P), dtype=np.float32)))
    # In blocks of their own whatever the session's partitions are, so that the result does not depend on them.
    als = ALS(rank=rank, maxIter=iterations, regParam=l2, alpha=alpha, implicitPrefs=True, seed=seed, userCol="key")
    als = als.setItemCol("item").setRatingCol("rating").setNumBlocks(_BLOCKS).setCheckpointInterval(_ITERATIONS_KEPT)
    found = als.fit(spark.createDataFrame(pairs).coalesce(1)).itemFactors.toArrow()
    made = np.zeros((num_items, rank))
    if found.num_rows:
        made[found["id"].to_numpy()] = np.array(found["features"].to_pylist(), dtype=np.float64)
    return made
