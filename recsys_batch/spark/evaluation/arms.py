"""The arms of an experiment against each other: metrics of users who were dealt to different arms."""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.rules.metrics.unpaired_tests import GroupComparison, Sample, welch
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import latest_release, read_release


def published_arms(lake: Lake, ds: date) -> DataFrame | None:
    """Return (user_id, arm) of the user lists that stand for the date; None where no experiment ran."""
    release = latest_release(lake, ds)
    if release is None or Tables.USER_RECOMMENDATIONS not in release.tables:
        return None
    arms = arms_of(read_release(lake, release, Tables.USER_RECOMMENDATIONS))
    return None if arms is None or arms.isEmpty() else arms


def arms_of(lists: DataFrame) -> DataFrame | None:
    """Return (user_id, arm) of user lists; None where an older version published them, without arms."""
    if "arm" not in lists.columns:
        return None
    return lists.where("arm IS NOT NULL AND rank = 1").select("user_id", "arm")


def compare_arms(
    values: DataFrame, arms: DataFrame, metrics: Sequence[str], *, control: str | None = None, confidence: float = 0.95
) -> list[GroupComparison]:
    """Compare columns of a frame of values by user (`ndcg@10`) between each arm and the control, arm by arm.

    `arms` has user_id and arm. The control is the first arm by name where none is given, or where it has no user. An
    arm in which fewer than two users have a value is left out of that metric, and so is a metric whose control has
    fewer. One row an arm is collected.
    """
    of_arm = values.join(arms.select("user_id", "arm"), "user_id").groupBy("arm")
    figures = []
    for metric in metrics:
        value = F.col(f"`{metric}`").cast("double")
        figures.append(F.struct(F.count(value), F.avg(value), F.var_samp(value)).alias(metric))
    rows = {row.arm: row for row in of_arm.agg(*figures).orderBy("arm").collect()}
    if not rows:
        return []
    baseline: str = control if control is not None and control in rows else next(iter(rows))
    found = []
    for arm, row in rows.items():
        for metric in metrics if arm != baseline else ():
            ours, theirs = (Sample(*(each or 0 for each in one[metric])) for one in (row, rows[baseline]))
            if min(ours.size, theirs.size) >= 2:
                difference, p_value = welch(ours, theirs, confidence=confidence)
                found.append(GroupComparison(metric, arm, baseline, ours, theirs, difference, p_value))
    return found


def arm_values(compared: Sequence[GroupComparison]) -> dict[str, object]:
    """Return what a line of JSON says of the arms: users and means of each, differences and intervals."""
    arms: dict[str, dict[str, float]] = {}
    differences: dict[str, dict[str, list[float]]] = {}
    for each in compared:
        for name, sample in ((each.baseline, each.theirs), (each.group, each.ours)):
            arms.setdefault(name, {"users": sample.size})[each.metric] = round(sample.mean, 6)
        gap = each.difference
        differences.setdefault(each.group, {})[each.metric] = [round(v, 6) for v in (gap.mean, gap.low, gap.high)]
    return {"arms": arms, "differences": differences}
