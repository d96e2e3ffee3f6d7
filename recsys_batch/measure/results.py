"""What a hold-out says: the metrics of every run with intervals, and where it wins and loses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.measure.bins import TARGET_KINDS, USER_KINDS, BinResult, mean_by_bin
from recsys_batch.measure.hold_out import NIGHT, Cut
from recsys_batch.rules.metrics.paired_tests import Interval, paired_bootstrap
from recsys_batch.spark.evaluation.accuracy import OUTCOME_METRICS, measure_keys
from recsys_batch.spark.evaluation.exposure import measure_coverage

_CASE = "case"
_SHARES = ("catalog_coverage", "top_share")
_SAMPLES = 2_000
Values = npt.NDArray[np.float64]
_NDCG = OUTCOME_METRICS.index("ndcg")


@dataclass(frozen=True)
class RunResult:
    """One run, the night or a baseline, over all users (U) of all cuts."""

    run: str
    settings: str
    values: dict[str, Interval]
    """Metric -> mean over users, and where it may lie."""
    against: dict[str, Interval]
    """Metric -> mean of the night less this run, by user; empty for the night itself."""
    shares: dict[str, float]
    """catalog_coverage and top_share of the lists, means over the cuts."""


def measure_cuts(cuts: Sequence[Cut], length: int) -> tuple[list[RunResult], list[BinResult]]:
    """Return the results of every run, the night first and then the best, and the tables by bin.

    A user of several cuts counts once, with the mean over the cuts.
    """
    # Made once, and read for every table below.
    for cut in cuts:
        cut.lists.persist()
    of_cuts = [_values(cut, length) for cut in cuts]
    runs = [NIGHT, *(run for run in of_cuts[0] if run != NIGHT)]
    users = sorted({user for values in of_cuts for user in values[NIGHT]})
    arrays = {run: _mean_by_user([values[run] for values in of_cuts], users) for run in runs}
    values = {run: {f"{m}@{length}": of[:, n] for n, m in enumerate(OUTCOME_METRICS)} for run, of in arrays.items()}
    coverage = [_coverage(cut, runs, length) for cut in cuts]
    shares = {run: {n: float(np.mean([each[run][n] for each in coverage])) for n in _SHARES} for run in runs}
    results = compare_values(values, cuts[-1].settings, f"ndcg@{length}", shares)
    shown = [each.run for each in results[:2]]
    bins = [*_bins_of_users(cuts, of_cuts, shown), *_bins_of_targets(cuts, shown, length)]
    for cut in cuts:
        cut.lists.unpersist()
    return results, bins


def compare_values(
    values: Mapping[str, Mapping[str, Values]],
    settings: Mapping[str, str],
    main: str,
    shares: Mapping[str, dict[str, float]] | None = None,
) -> list[RunResult]:
    """Return the results of every run from its values (U) by metric: the night first, then by `main`, best first."""
    made = [
        RunResult(
            run,
            settings.get(run, ""),
            {metric: _interval(of_U) for metric, of_U in of.items()},
            {} if run == NIGHT else {metric: _interval(values[NIGHT][metric] - of_U) for metric, of_U in of.items()},
            shares[run] if shares else {},
        )
        for run, of in values.items()
    ]
    return sorted(made, key=lambda each: (each.run != NIGHT, -each.values[main].mean, each.run))


def _values(cut: Cut, length: int) -> dict[str, dict[str, Values]]:
    """Return run -> user -> values of OUTCOME_METRICS."""
    runs = cut.lists.select("run").distinct()
    targets = cut.targets.crossJoin(F.broadcast(runs)).select(_case(), "item_id")
    lists = cut.lists.select(_case(), "item_id", "rank")
    measured = measure_keys(lists, targets, metrics=OUTCOME_METRICS, ks=(length,), key=_CASE)
    rows = measured.select(
        F.substring_index(_CASE, "\t", 1).alias("run"),
        F.expr(f"substring({_CASE}, instr({_CASE}, '\t') + 1)").alias("user_id"),
        *(F.col(f"`{metric}@{length}`").alias(metric) for metric in OUTCOME_METRICS),
    ).toArrow()
    values_RM = np.column_stack([rows[metric].to_numpy() for metric in OUTCOME_METRICS])
    found: dict[str, dict[str, Values]] = {}
    for run, user, values in zip(rows["run"].to_pylist(), rows["user_id"].to_pylist(), values_RM, strict=True):
        found.setdefault(run, {})[user] = values
    return dict(sorted(found.items()))


def _case() -> Column:
    return F.concat_ws("\t", "run", "user_id").alias(_CASE)


def _mean_by_user(of_cuts: Sequence[dict[str, Values]], users: Sequence[str]) -> Values:
    return np.array([np.mean([cut[user] for cut in of_cuts if user in cut], axis=0) for user in users])


def _interval(values_U: Values) -> Interval:
    if len(values_U) < 2:
        return Interval(float(values_U.mean()), float("nan"), float("nan"))
    return paired_bootstrap(values_U, num_samples=_SAMPLES)


def _coverage(cut: Cut, runs: Sequence[str], length: int) -> dict[str, dict[str, float]]:
    keys = cut.targets.select("user_id").distinct().persist()
    found = {}
    for run in runs:
        metrics = measure_coverage(cut.lists.where(F.col("run") == run), keys, cut.items, ks=(length,))
        found[run] = {m.metric: m.value for m in metrics if m.metric in _SHARES}
    keys.unpersist()
    return found


def _bins_of_users(
    cuts: Sequence[Cut], of_cuts: Sequence[dict[str, dict[str, Values]]], runs: Sequence[str]
) -> list[BinResult]:
    tables = []
    for cut, values in zip(cuts, of_cuts, strict=True):
        users, table = cut.users["user_id"].to_pylist(), cut.users
        for run in runs:
            table = table.append_column(run, pa.array([values[run][user][_NDCG] for user in users], pa.float64()))
        tables.append(table)
    rows = cuts[0].lists.sparkSession.createDataFrame(pa.concat_tables(tables))
    return mean_by_bin(rows, USER_KINDS, runs)


def _bins_of_targets(cuts: Sequence[Cut], runs: Sequence[str], length: int) -> list[BinResult]:
    found = []
    for cut in cuts:
        lists = cut.lists.where(F.col("run").isin(*runs) & (F.col("rank") <= length))
        hits = lists.groupBy("user_id", "item_id").pivot("run", list(runs)).agg(F.lit(1.0))
        found.append(cut.targets.join(hits, ["user_id", "item_id"], "left").join(cut.items, "item_id"))
    return mean_by_bin(reduce(DataFrame.unionByName, found).fillna(0.0, list(runs)), TARGET_KINDS, runs)
