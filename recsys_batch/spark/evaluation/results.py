"""What metrics are reported as: a name, a list length, a value and over how many keys it was taken."""

from dataclasses import dataclass
from typing import Self

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


@dataclass(frozen=True)
class ListMetric:
    """One metric of a set of lists."""

    metric: str
    k: int | None
    """Length at which lists were cut; None where the metric looks at whole lists."""
    value: float
    """NaN where no key has a value."""
    num_keys: int

    @classmethod
    def of_column(cls, column: str, value: float | None, num_keys: int) -> Self:
        """Return the metric that a column name such as `ndcg@10` stands for."""
        name, _, k = column.partition("@")
        return cls(name, int(k) if k else None, float("nan") if value is None else float(value), num_keys)


def value_columns(values: DataFrame, key: str) -> list[str]:
    """Return the metrics of a frame of values by key: all columns but the key and the counts (`num_...`)."""
    return [column for column in values.columns if column != key and not column.startswith("num_")]


def average_values(values: DataFrame, *, key: str = "user_id") -> list[ListMetric]:
    """Return the mean of every metric over the keys that have one (a null is no value), in one Spark job.

    Three are not plain means. `rmse` and `mae` are taken over all rated rows, whosever they are. Where there is an
    `auc`, `gauc` comes with it: the mean of the keys' AUC weighted by the length of their lists (Zhou et al., 2018).
    """
    columns = value_columns(values, key)
    means = {column: _mean_of(column) for column in columns}
    counts = {column: F.count(F.col(f"`{column}`")) for column in columns}
    if "auc" in means:
        means["gauc"], counts["gauc"] = _weighted_mean(F.col("auc"), F.col("num_listed")), counts["auc"]
    row = values.agg(*(F.struct(means[column], counts[column]).alias(str(n)) for n, column in enumerate(means))).first()
    if row is None:
        return []
    return [ListMetric.of_column(column, *row[n]) for n, column in enumerate(means)]


def _mean_of(column: str) -> Column:
    if column == "rmse":
        return F.sqrt(_weighted_mean(F.col(column) * F.col(column), F.col("num_rated")))
    if column == "mae":
        return _weighted_mean(F.col(column), F.col("num_rated"))
    return F.avg(F.col(f"`{column}`"))


def _weighted_mean(value: Column, weight: Column) -> Column:
    return F.sum(value * weight) / F.sum(F.when(value.isNotNull(), weight))
