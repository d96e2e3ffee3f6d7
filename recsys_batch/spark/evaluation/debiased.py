"""Quality of lists without the advantage of popular items: what logs would say if they showed every item alike.

Targets are what a shop saw, and it sees popular items more. Each is weighted by the inverse of the chance to be seen,
its propensity, and the weights of a key sum to 1 (self-normalized; Yang et al., 2018).
"""

from collections.abc import Sequence
from typing import Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.spark.evaluation.accuracy import measure_keys
from recsys_batch.spark.evaluation.lists import check_columns, distinct_pairs

_NAMES = {"recall_weighted": "recall_debiased", "dcg_weighted": "dcg_debiased", "ndcg_linear": "ndcg_debiased"}


def popularity_propensities(history: DataFrame, *, key: str = "user_id", gamma: float = 2.0) -> DataFrame:
    """Return (item_id, propensity): popularity ** ((gamma + 1) / 2), relative to the most popular item's.

    `gamma` says how much more than in proportion the interactions of popular items are logged; 1.5 to 3 in Yang et al.
    (2018). Popularity is the number of keys that had the item.
    """
    counts = distinct_pairs(history, key).groupBy("item_id").agg(F.count("*").alias("popularity"))
    most = counts.agg(F.max("popularity").alias("most"))
    share = F.col("popularity") / F.col("most")
    return counts.crossJoin(F.broadcast(most)).select("item_id", F.pow(share, (gamma + 1) / 2).alias("propensity"))


def measure_debiased(
    lists: DataFrame,
    targets: DataFrame,
    propensities: DataFrame,
    *,
    ks: Sequence[int] = (10,),
    key: str = "user_id",
    min_propensity: float = 1e-4,
    missing: Literal["zero", "skip"] = "zero",
    num_partitions: int | None = None,
) -> DataFrame:
    """Return one row a key with recall_debiased@k, dcg_debiased@k and ndcg_debiased@k.

    `propensities` has item_id and propensity, one row an item; smaller ones than `min_propensity`, and items without
    one, are taken as that, which bounds the weight of a rare item. All targets are relevant, whatever their grade.
    recall and dcg are Yang et al.'s estimators for lists cut at k; ndcg divides by the largest attainable dcg instead.
    """
    check_columns(propensities, "propensities", ("item_id", "propensity"))
    if not 0 < min_propensity <= 1:
        raise ValueError(f"min_propensity must lie between 0 and 1, not {min_propensity}")
    chance = F.greatest(F.coalesce("propensity", F.lit(min_propensity)), F.lit(min_propensity))
    weighted = targets.select(key, "item_id").join(propensities.select("item_id", "propensity"), "item_id", "left")
    values = measure_keys(
        lists,
        weighted.select(key, "item_id", (1.0 / chance).alias("grade")),
        metrics=("recall_weighted", "dcg_weighted", "ndcg_linear"),
        ks=ks,
        key=key,
        missing=missing,
        num_partitions=num_partitions,
    )
    renamed = {f"{old}@{k}": f"{new}@{k}" for old, new in _NAMES.items() for k in ks}
    return values.withColumnsRenamed(renamed)
