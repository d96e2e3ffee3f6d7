"""Offline evaluation on published test cases: where each request's held-out item stands in its published list."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.spark.inputs.normalize import canonical_id
from recsys_batch.spark.inputs.sources import KEPT, read_table
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import latest_release, read_release


def target_ranks(lake: Lake, config: Config, ds: date) -> npt.NDArray[np.int64]:
    """Return the rank of every target in the list of its request (0: not in it), in the order of request_id.

    Raises ConfigError without `sources.targets`, InputNotReadyError where no request lists of `ds` are published.
    """
    if not config.sources.targets:
        raise ConfigError("sources.targets: evaluate needs the held-out item of each request; add a source")
    release = latest_release(lake, ds)
    if release is None or Tables.REQUEST_RECOMMENDATIONS not in release.tables:
        raise InputNotReadyError(f"{Tables.REQUEST_RECOMMENDATIONS}: nothing published for {ds}; run the night first")
    lists = read_release(lake, release, Tables.REQUEST_RECOMMENDATIONS)
    raw = read_table(lake.spark, "targets", config.sources.targets, ds)
    targets = raw.where(KEPT).select(
        canonical_id("request_id", "keep").alias("request_id"),
        canonical_id("item_id", config.prepare.id_case).alias("item_id"),
    )
    return _ranks(targets, lists, ("request_id", "item_id"))


def _ranks(targets: DataFrame, lists: DataFrame, keys: Sequence[str]) -> npt.NDArray[np.int64]:
    joined = targets.join(lists.select(*keys, "rank"), list(keys), "left").orderBy(*keys)
    return np.array([row.rank or 0 for row in joined.select(F.col("rank")).collect()], dtype=np.int64)
