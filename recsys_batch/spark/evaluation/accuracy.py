"""How well lists meet their targets: precision, recall, NDCG and their relatives, by key and over all keys.

docs/evaluation.md defines every name and says where it comes from.
"""

from collections.abc import Sequence
from math import log2
from typing import Literal, get_args

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.spark.evaluation.lists import check_columns, check_ks, place_targets
from recsys_batch.spark.evaluation.results import ListMetric, average_values

AccuracyMetric = Literal[
    "precision",
    "recall",
    "recall_min",
    "hit_rate",
    "mrr",
    "map",
    "map_min",
    "ndcg",
    "ndcg_exp",
    "ndcg_linear",
    "recall_weighted",
    "dcg_weighted",
    "auc",
    "rmse",
    "mae",
]
RANKING_METRICS: tuple[AccuracyMetric, ...] = (
    "precision",
    "recall",
    "recall_min",
    "hit_rate",
    "mrr",
    "map",
    "map_min",
    "ndcg",
)
# What is told of lists that are held against what came after.
OUTCOME_METRICS: tuple[AccuracyMetric, ...] = ("recall_min", "ndcg", "hit_rate")
_OF_WHOLE_LISTS = ("auc", "rmse", "mae")
_RATED = "place IS NOT NULL AND grade IS NOT NULL AND score IS NOT NULL"


def measure_lists(
    lists: DataFrame,
    targets: DataFrame,
    *,
    metrics: Sequence[AccuracyMetric] = RANKING_METRICS,
    ks: Sequence[int] = (10,),
    key: str = "user_id",
    missing: Literal["zero", "skip"] = "zero",
    num_partitions: int | None = None,
) -> list[ListMetric]:
    """Return the metrics over all keys that have a target; see `measure_keys` for the frames and the rules."""
    values = measure_keys(
        lists, targets, metrics=metrics, ks=ks, key=key, missing=missing, num_partitions=num_partitions
    )
    return average_values(values, key=key)


def measure_keys(
    lists: DataFrame,
    targets: DataFrame,
    *,
    metrics: Sequence[AccuracyMetric] = RANKING_METRICS,
    ks: Sequence[int] = (10,),
    key: str = "user_id",
    missing: Literal["zero", "skip"] = "zero",
    num_partitions: int | None = None,
) -> DataFrame:
    """Return one row a key with a column a metric (`ndcg@10`, `auc`) and num_targets, num_listed, num_rated.

    `lists` has key, item_id, rank (from 1) and, for auc, rmse and mae, score; `targets` key, item_id and maybe grade.
    A target is relevant where its grade is above 0; without grades all are. Duplicates count once and equal ranks are
    ordered as in `lists.place_targets`.
    Keys without a target are left out. A key without a list has 0 everywhere, or is left out under `missing="skip"`.
    A metric is null where it says nothing of the key: the ones of ranking without a relevant target, auc unless the
    list holds both relevant items and others, rmse and mae where no target is in the list.
    The rows are shuffled once, into `num_partitions` (the session's number where None): some 300,000 rows in each keep
    sorting in memory. Raises ValueError on an unknown metric, a list length below 1 or a missing column.
    """
    check_ks(ks)
    if unknown := [metric for metric in metrics if metric not in get_args(AccuracyMetric)]:
        raise ValueError(f"unknown metrics {', '.join(unknown)}; known are {', '.join(get_args(AccuracyMetric))}")
    if missing not in ("zero", "skip"):
        raise ValueError(f"missing must be zero or skip, not {missing!r}")
    if set(metrics) & set(_OF_WHOLE_LISTS):
        check_columns(lists, "lists", ("score",))
    rows = place_targets(lists, targets, key=key, num_partitions=num_partitions)
    if {"ndcg_exp", "ndcg_linear"} & set(metrics):
        by_grade = Window.partitionBy(key).orderBy(F.col("grade").desc_nulls_last())
        rows = rows.withColumn("ideal_place", F.row_number().over(by_grade))
    if "auc" in metrics:
        rows = rows.withColumn("middle_rank", _middle_rank(key))
    formulas = {_name(metric, k): _formulas(k)[metric] for metric in metrics for k in ks}
    sums = {name: total for totals, _ in formulas.values() for name, total in totals.items()}
    counted = rows.groupBy(key).agg(
        F.count_if(F.col("grade") > 0).alias("num_targets"),
        F.count("place").alias("num_listed"),
        F.expr(f"count_if({_RATED})").alias("num_rated"),
        F.count("grade").alias("_num_graded"),
        *(F.expr(total).alias(name) for name, total in sums.items()),
    )
    kept = counted.where(F.col("_num_graded") > 0)
    if missing == "skip":
        kept = kept.where(F.col("num_listed") > 0)
    values = [F.expr(value).alias(name) for name, (_, value) in formulas.items()]
    return kept.select(key, "num_targets", "num_listed", "num_rated", *values)


def _name(metric: str, k: int) -> str:
    return metric if metric in _OF_WHOLE_LISTS else f"{metric}@{k}"


def _middle_rank(key: str) -> Column:
    """Return the rank of an item of a list by score, from the lowest; equal scores share the mean of their ranks."""
    by_score = Window.partitionBy(key, F.col("place").isNull()).orderBy("score")
    equals = by_score.rangeBetween(Window.currentRow, Window.currentRow)
    return F.rank().over(by_score) + (F.count(F.lit(1)).over(equals) - 1) / 2


def _formulas(k: int) -> dict[str, tuple[dict[str, str], str]]:
    """Return in SQL, by metric, what is summed over the rows of a key (name -> aggregate) and what is made of it."""
    hit, hits = f"grade > 0 AND place <= {k}", {f"_hits_{k}": f"count_if(grade > 0 AND place <= {k})"}
    attainable = f"least(num_targets, {k})"
    precisions = {f"_precisions_{k}": _total(hit, "hits / place")}
    binary = {f"_dcg_{k}": _total(hit, "1 / log2(place + 1)")}
    weight = {"_weight": _total("grade > 0", "grade")}
    weighted_hits = {f"_weighted_hits_{k}": _total(hit, "grade")}
    weighted_dcg = {f"_weighted_dcg_{k}": _total(hit, "grade / log2(place + 1)")}
    listed_hits = {
        "_listed_hits": "count_if(grade > 0 AND place IS NOT NULL)",
        "_rank_sum": _total("grade > 0 AND place IS NOT NULL", "middle_rank"),
    }
    pairs = "_listed_hits * (num_listed - _listed_hits)"
    ranking = {
        "precision": (hits, f"_hits_{k} / {k}"),
        "recall": (hits, f"_hits_{k} / num_targets"),
        "recall_min": (hits, f"_hits_{k} / {attainable}"),
        "hit_rate": (hits, f"if(_hits_{k} > 0, 1D, 0D)"),
        "mrr": ({"_first": "min(if(grade > 0, place, NULL))"}, f"if(_first <= {k}, 1 / _first, 0D)"),
        "map": (precisions, f"_precisions_{k} / num_targets"),
        "map_min": (precisions, f"_precisions_{k} / {attainable}"),
        "ndcg": (binary, f"_dcg_{k} / element_at({_ideal_gains(k)}, int({attainable}))"),
        "ndcg_exp": _graded("exp", "(pow(2D, grade) - 1)", k),
        "ndcg_linear": _graded("linear", "grade", k),
        "recall_weighted": (weight | weighted_hits, f"_weighted_hits_{k} / _weight"),
        "dcg_weighted": (weight | weighted_dcg, f"_weighted_dcg_{k} / _weight"),
    }
    return {metric: (sums, f"if(num_targets > 0, {value}, NULL)") for metric, (sums, value) in ranking.items()} | {
        "auc": (listed_hits, f"if({pairs} > 0, (_rank_sum - _listed_hits * (_listed_hits + 1) / 2) / ({pairs}), NULL)"),
        "rmse": ({"_squares": _total(_RATED, "pow(score - grade, 2D)")}, _per_rated("sqrt(_squares / num_rated)")),
        "mae": ({"_errors": _total(_RATED, "abs(score - grade)")}, _per_rated("_errors / num_rated")),
    }


def _graded(name: str, gain: str, k: int) -> tuple[dict[str, str], str]:
    found, ideal = f"_{name}_{k}", f"_ideal_{name}_{k}"
    sums = {
        found: _total(f"grade > 0 AND place <= {k}", f"{gain} / log2(place + 1)"),
        ideal: _total(f"grade > 0 AND ideal_place <= {k}", f"{gain} / log2(ideal_place + 1)"),
    }
    return sums, f"{found} / {ideal}"


def _total(where: str, value: str) -> str:
    return f"sum(if({where}, {value}, 0D))"


def _per_rated(value: str) -> str:
    return f"if(num_rated > 0, {value}, NULL)"


def _ideal_gains(k: int) -> str:
    """Return the DCG of lists of only relevant items, of length 1 to k, as an array."""
    gains = [1 / log2(place + 1) for place in range(1, k + 1)]
    return f"array({', '.join(f'{sum(gains[:length])!r}D' for length in range(1, k + 1))})"
