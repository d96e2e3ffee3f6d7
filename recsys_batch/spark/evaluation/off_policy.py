"""What would other lists have earned? Off-policy estimates from logged impressions of any number.

Spark sums up by unit, and over units it finds means and covariances: one row of numbers reaches the driver, and
`recsys_batch.rules.metrics.off_policy` says what they mean.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.rules.metrics.off_policy import (
    SUMS,
    OffPolicyMethod,
    UnitMoments,
    ValueEstimate,
    estimate_from_moments,
)
from recsys_batch.rules.metrics.propensity import PositionCurve
from recsys_batch.spark.evaluation.lists import check_columns, check_ks, place_items

_LARGEST = float(np.finfo(np.float64).max)


def estimate_lists(
    impressions: DataFrame,
    lists: DataFrame,
    *,
    key: str = "user_id",
    curve: PositionCurve | None = None,
    predictions: DataFrame | None = None,
    k: int | None = None,
    unit: str | None = None,
    max_weight: float | None = None,
    confidence: float = 0.95,
) -> list[ValueEstimate]:
    """Return what `lists` (key, item_id, rank) would have earned a slot, by `ips` and `snips`.

    With predictions by `dm` and `dr` too. `impressions` has key, item_id, position from 1, reward (1 where clicked, or
    money) and propensity. Those of keys without a list are left out. Lists are cut at k and count by place, as
    `lists.place_items` numbers them. A click model says what a logged slot tells about a list (Li et al., 2018):

    - without `curve`, the item-position model: an impression counts where the list has the item at that very position.
      Propensity is the chance with which the logger put it there.
    - with `curve` (the examination of positions), the position-based model: an item earns as much wherever it is looked
      at. Propensity is the chance that it was looked at, the sum over positions of chance * examination; without the
      column, the examination of its position, as of a logger that always shows the same page. Pages must show k slots
      or more; k is the last position of the curve unless given.

    `predictions` has key, item_id and predicted, the reward of an item: without `curve` at a position (a column too),
    for each logged item where it was logged and each listed item at its place; with `curve` where it is looked at. Of
    several rows the mean counts. They must come from other days than the impressions.

    The mean over a page is this times its slots. Units, drawn independently of each other, are the keys, or what the
    column `unit` of the impressions names. `max_weight` clips, as in `estimate_value`. Raises ValueError where a column
    is missing, a propensity, position or reward is not what it must be (naming the row), a prediction is missing, or
    fewer than two units have a list.
    """
    if max_weight is not None and not max_weight > 0:
        raise ValueError(f"max_weight must be above 0, not {max_weight}")
    if curve is not None:
        if not curve.positions:
            raise ValueError("the curve has no position; fit it on impressions, or leave it out")
        k = curve.positions[-1] if k is None else k
    columns = [key, "item_id", "position", "reward", *([unit] if unit and unit != key else [])]
    has_propensity = curve is None or "propensity" in impressions.columns
    check_columns(impressions, "impressions", (*columns, *(["propensity"] if has_propensity else [])))
    logged = impressions.select(
        *columns, F.col("propensity").cast("double") if has_propensity else F.lit(None).alias("propensity")
    )
    placed = place_items(lists, key=key)
    if k is not None:
        check_ks((k,))
        # An impression without a position stays, to be refused.
        logged = logged.where(F.col("position").isNull() | (F.col("position") <= k))
        placed = placed.where(F.col("place") <= k)
    logged, placed = _predict(logged, placed, predictions, key, by_position=curve is None)
    places = F.array_sort(F.collect_list(F.struct("place", "item_id", "expected")))
    rows = logged.join(placed.groupBy(key).agg(places.alias("listed")), key)
    methods: Sequence[OffPolicyMethod] = ("ips", "snips") if predictions is None else ("ips", "snips", "dm", "dr")
    moments = _moments(_weigh(rows, key, unit or key, curve, has_propensity, max_weight))
    return [estimate_from_moments(moments, method, confidence=confidence) for method in methods]


def _predict(
    logged: DataFrame, placed: DataFrame, predictions: DataFrame | None, key: str, by_position: bool
) -> tuple[DataFrame, DataFrame]:
    """Add `predicted` to the impressions and `expected` to the listed items; 0 without predictions."""
    if predictions is None:
        return logged.withColumn("predicted", F.lit(0.0)), placed.withColumn("expected", F.lit(0.0))
    at = [key, "item_id", *(["position"] if by_position else [])]
    check_columns(predictions, "predictions", (*at, "predicted"))
    known = predictions.groupBy(*at).agg(F.avg("predicted").alias("predicted"))
    renamed = known.withColumnsRenamed({"predicted": "expected", "position": "place"})
    at_place = [key, "item_id", *(["place"] if by_position else [])]
    return logged.join(known, at, "left"), placed.join(renamed, at_place, "left")


def _weigh(
    rows: DataFrame, key: str, unit: str, curve: PositionCurve | None, has_propensity: bool, max_weight: float | None
) -> DataFrame:
    """Return one row an impression: its unit, what is summed up, whether it was clipped and what is wrong with it."""
    position, items = F.col("position").cast("int"), F.col("listed.item_id")
    if curve is None:
        exposure = F.lit(1.0)
        target = F.when(F.get(items, position - 1) == F.col("item_id"), 1.0)
    else:
        exposure, rank = _examination(position, curve), F.array_position(items, F.col("item_id"))
        target = F.when(rank > 0, _examination(rank, curve))
    propensity = F.col("propensity") if has_propensity else exposure
    full = F.coalesce(target, F.lit(0.0)) / propensity
    weight = full if max_weight is None else F.least(full, F.lit(float(max_weight)))
    # Beyond the end of a list nothing is shown, and nothing earned.
    is_within = position <= F.size("listed")
    expected = F.when(is_within, F.get("listed.expected", position - 1) * exposure).otherwise(0.0)
    predicted, reward = F.col("predicted") * exposure, F.col("reward").cast("double")
    sums = {
        "rows": F.lit(1.0),
        "exposure": exposure,
        "weight": weight * exposure,
        "earned": weight * reward,
        "expected": expected,
        "corrected": expected + weight * (reward - predicted),
    }
    faults = {
        "position must be 1 or more": F.coalesce(position < 1, F.lit(True)),
        "propensity must be above 0 and at most 1": ~_is_within(propensity, 0.0, 1.0)
        if has_propensity
        else F.lit(False),
        "reward must be finite": ~_is_within(reward, -_LARGEST, _LARGEST),
        "predictions lacks a finite one for it, or for what the list has at its position": ~(
            _is_within(predicted, -_LARGEST, _LARGEST) & _is_within(expected, -_LARGEST, _LARGEST)
        ),
    }
    fault = F.coalesce(*(F.when(is_wrong, F.lit(name)) for name, is_wrong in faults.items()))
    names = [key, "item_id", "position", "propensity", "reward"]
    row = F.concat_ws(
        ", ", *(F.format_string(f"{n} %s", F.coalesce(F.col(n).cast("string"), F.lit("null"))) for n in names)
    )
    return rows.select(
        F.col(unit).alias("_unit"),
        *(sums[name].alias(name) for name in SUMS),
        (weight < full).alias("is_clipped"),
        F.when(fault.isNotNull(), F.concat_ws(": ", row, fault)).alias("fault"),
    )


def _moments(weighed: DataFrame) -> UnitMoments:
    """Sum up by unit, and collect one row: means and covariances over units. Raises ValueError where a row is wrong."""
    units = weighed.groupBy("_unit").agg(
        *(F.sum(name).alias(name) for name in SUMS),
        F.count_if("is_clipped").alias("clipped"),
        F.min("fault").alias("fault"),
    )
    pairs = list(combinations_with_replacement(range(len(SUMS)), 2))
    found = units.agg(
        F.count("*").alias("units"),
        F.min("fault").alias("fault"),
        (F.sum("clipped") / F.sum("rows")).alias("clipped_share"),
        F.array(*(F.avg(name) for name in SUMS)).alias("means"),
        F.array(*(F.covar_samp(SUMS[i], SUMS[j]) for i, j in pairs)).alias("covariances"),
    ).collect()[0]
    if found.fault:
        raise ValueError(f"impressions: {found.fault}")
    if found.units < 2:
        raise ValueError(f"impressions: {found.units} units with a list; an interval needs two or more")
    covariances_SS = np.zeros((len(SUMS), len(SUMS)))
    for (i, j), value in zip(pairs, found.covariances, strict=True):
        covariances_SS[i, j] = covariances_SS[j, i] = value
    return UnitMoments(found.units, np.array(found.means), covariances_SS, float(found.clipped_share))


def _examination(position: Column, curve: PositionCurve) -> Column:
    """Look positions up in the curve as `PositionCurve.examination_at` does."""
    last = curve.positions[-1]
    values = F.array(*(F.lit(curve.examination_at(place)) for place in range(1, last + 1)))
    return F.get(values, F.least(position, F.lit(last)).cast("int") - 1)


def _is_within(value: Column, low: float, high: float) -> Column:
    """Whether the value is above `low` and at most `high`; false for null and NaN, which Spark orders last."""
    return F.coalesce((value > low) & (value <= high), F.lit(False))
