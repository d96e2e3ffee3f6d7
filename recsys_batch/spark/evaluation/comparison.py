"""How sure a metric is, and whether one run is better than another on the same keys.

Works on frames of values by key. What reaches the driver is one row for each distinct value: a resample of keys is a
draw of how often each value occurs, whichever keys have it.
"""

import numpy as np
import numpy.typing as npt
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.rules.metrics.paired_tests import (
    Interval,
    RunComparison,
    bootstrap_counts,
    effect_size,
    permute_counts,
)

# Values that differ by less are one: sums in another order differ in the last bits.
_DECIMALS = 12


def metric_interval(
    values: DataFrame, metric: str, *, confidence: float = 0.95, num_samples: int = 2_000, seed: int = 0
) -> Interval:
    """Return the mean of a column of values (`ndcg@10`) and its bootstrap interval over keys; nulls are left out.

    Raises ValueError where fewer than two keys have a value.
    """
    values_D, counts_D = _distinct(values, F.col(f"`{metric}`"))
    return bootstrap_counts(values_D, counts_D, confidence=confidence, num_samples=num_samples, seed=seed)


def compare_runs(
    ours: DataFrame,
    baseline: DataFrame,
    metric: str,
    *,
    key: str = "user_id",
    confidence: float = 0.95,
    num_samples: int = 2_000,
    seed: int = 0,
) -> RunComparison:
    """Compare a column of two frames of values by key, on the keys where both have a value.

    Raises ValueError where the frames do not have the same keys, which would compare one run's easy keys with the
    other's hard ones, or where fewer than two keys have both values.
    """
    name = F.col(f"`{metric}`")
    left = ours.select(key, name.alias("_ours"), F.lit(True).alias("_in_ours"))
    right = baseline.select(key, name.alias("_baseline"), F.lit(True).alias("_in_baseline"))
    joined = left.join(right, key, "full_outer")
    both = F.col("_ours").isNotNull() & F.col("_baseline").isNotNull()
    facts = joined.agg(
        F.count_if(F.col("_in_baseline").isNull()).alias("only_ours"),
        F.count_if(F.col("_in_ours").isNull()).alias("only_baseline"),
        F.avg(F.when(both, F.col("_ours"))).alias("ours"),
        F.avg(F.when(both, F.col("_baseline"))).alias("baseline"),
    ).collect()[0]
    if facts.only_ours or facts.only_baseline:
        raise ValueError(
            f"{metric}: {facts.only_ours} keys are only in the first run and {facts.only_baseline} only in the second; "
            "measure both on the same targets"
        )
    values_D, counts_D = _distinct(joined.where(both), F.col("_ours") - F.col("_baseline"))
    difference = bootstrap_counts(values_D, counts_D, confidence=confidence, num_samples=num_samples, seed=seed)
    return RunComparison(
        metric,
        float(facts.ours),
        float(facts.baseline),
        difference,
        effect_size(values_D, counts_D),
        permute_counts(values_D, counts_D, num_samples=num_samples, seed=seed),
        int(counts_D.sum()),
    )


def _distinct(values: DataFrame, value: Column) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the distinct values, ascending, and how many keys have each."""
    rounded = values.select(F.round(value.cast("double"), _DECIMALS).alias("value")).where("value IS NOT NULL")
    table = rounded.groupBy("value").count().toArrow()
    values_D = table.column("value").to_numpy().astype(np.float64)
    counts_D = table.column("count").to_numpy().astype(np.int64)
    order = np.argsort(values_D)
    return values_D[order], counts_D[order]
