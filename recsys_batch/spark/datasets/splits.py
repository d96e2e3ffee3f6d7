"""Splits: which rows train, which validate and which test, so that nothing in training tells what the test asks.

A split is decided on the signals (interactions that say something) and applied to every table of labels alike. It
depends on ids, times and the seed alone: not on partitions, and not on when it runs.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.config.splits import Split
from recsys_batch.contracts.datasets import TEST, TRAIN, VALID

SPLIT = "split"
DROPPED = "dropped"
"""Why a row is in no part; null where it is in one."""

_HASH_STEPS = 1_000_000
_TIED = "tied"


@dataclass(frozen=True)
class TimeBounds:
    """Instants at which validation and test begin, and the end of the business date."""

    valid_start: date
    test_start: date
    end: date

    @classmethod
    def of(cls, split: Split, ds: date) -> "TimeBounds":
        """Count back from the end of `ds`."""
        end = ds + timedelta(days=1)
        test_start = end - timedelta(days=split.test_days)
        return cls(test_start - timedelta(days=split.valid_days), test_start, end)


def train_end_of(split: Split, ds: date) -> date:
    """Return the day (exclusive) up to which anything may be known in training."""
    return TimeBounds.of(split, ds).valid_start if split.kind == "time" else ds + timedelta(days=1)


def signals_of(interactions: DataFrame) -> DataFrame:
    """Return the interactions that say something of a user and an item: those of a type with weight, not undone."""
    return interactions.where(F.col("item_id").isNotNull() & (F.col("type_weight") > 0))


def assign_split(rows: DataFrame, signals: DataFrame, split: Split, ds: date, seed: int) -> DataFrame:
    """Add `split` (train, valid, test; null where dropped) and `dropped` (the reason, null where kept).

    `rows` has user_id, item_id and event_time, and may have last_time (up to when its counts reach) and `label`;
    `signals` comes from `signals_of`. Reasons: no_user; no_time; no_history and too_few_items (leave_last_k: nothing to
    leave); tied_with_held_out (at the instant of a held-out item, but not the one held out); straddles_cut (counts from
    both sides of a cut); pair_in_other_part (the user met the item in an earlier or later part); no_signal (acts of a
    type without weight).
    """
    if split.kind == "cold_items":
        return _kept_unless(rows, [], hash_part("item_id", split, seed))
    if split.kind in ("user", "cold_users"):
        return _kept_unless(rows, [(F.col("user_id").isNull(), "no_user")], hash_part("user_id", split, seed))
    placed, too_short = _place(rows, signals, split, ds)
    own = _part_at(F.col("event_time"))
    faults = [(F.col("event_time").isNull(), "no_time")]
    if split.kind == "leave_last_k":
        faults.append((F.col("user_id").isNull(), "no_user"))
        faults.append((F.col("_known").isNull(), "no_history"))
        if split.short_users == "drop":
            faults.append((too_short, "too_few_items"))
    if "last_time" in rows.columns:
        faults.append((own != _part_at(F.col("last_time")), "straddles_cut"))
    if split.kind == "leave_last_k" or split.repeats == "drop":
        faults.append((F.col("_home") == _TIED, "tied_with_held_out"))
        faults.append((F.col("_home") != own, "pair_in_other_part"))
        if "label" in rows.columns:
            faults.append(((F.col("label") == 1) & F.col("_home").isNull(), "no_signal"))
    part = _kept_unless(placed, faults, own)
    return part.select(*rows.columns, SPLIT, DROPPED)


def hash_part(key: str, split: Split, seed: int) -> Column:
    """Return the part of a key: the first `test_share` of the hash range is test, the next `valid_share` valid.

    The split's kind salts the hash, so that the users of `user` and `cold_users` are chosen independently.
    """
    steps = F.pmod(F.xxhash64(F.lit(seed), F.lit(split.kind), F.col(key)), F.lit(_HASH_STEPS))
    tests, valids = round(split.test_share * _HASH_STEPS), round((split.test_share + split.valid_share) * _HASH_STEPS)
    return F.when(steps < tests, TEST).when(steps < valids, VALID).otherwise(TRAIN)


def _kept_unless(rows: DataFrame, faults: list[tuple[Column, str]], part: Column) -> DataFrame:
    reason = F.lit(None).cast("string")
    for condition, name in reversed(faults):
        reason = F.when(condition, name).otherwise(reason)
    return rows.withColumn(DROPPED, reason).withColumn(SPLIT, F.when(F.col(DROPPED).isNull(), part))


def _part_at(time: Column) -> Column:
    """Return the part that a time falls in; a user too short for cuts trains."""
    return F.when(time >= F.col("_test_start"), TEST).when(time >= F.col("_valid_start"), VALID).otherwise(TRAIN)


def _place(rows: DataFrame, signals: DataFrame, split: Split, ds: date) -> tuple[DataFrame, Column]:
    """Add `_home` (part of the pair's first signal), `_valid_start` and `_test_start` to the rows."""
    pairs = signals.groupBy("user_id", "item_id").agg(F.min("event_time").alias("first_time"))
    if split.kind == "time":
        bounds = TimeBounds.of(split, ds)
        starts = {"_valid_start": bounds.valid_start, "_test_start": bounds.test_start}
        marked = pairs.withColumns({name: F.lit(day).cast("timestamp") for name, day in starts.items()})
        homes = marked.select("user_id", "item_id", _part_at(F.col("first_time")).alias("_home"))
        dated = rows.withColumns({name: F.lit(day).cast("timestamp") for name, day in starts.items()})
        return dated.join(homes, ["user_id", "item_id"], "left"), F.lit(False)
    marked = leave_last(pairs, split.k)
    users = marked.groupBy("user_id").agg(
        F.max("_valid_start").alias("_valid_start"),
        F.max("_test_start").alias("_test_start"),
        F.count_if(F.col("_home") == TRAIN).alias("_known"),
    )
    # Without a cut on both sides, or with nothing before it, the user is not split at all.
    too_short = F.col("_valid_start").isNull() | (F.col("_known") == 0)
    cut = users.select(
        "user_id",
        "_known",
        too_short.alias("_too_short"),
        *(F.when(~too_short, F.col(start)).alias(start) for start in ("_valid_start", "_test_start")),
    )
    homes = marked.join(cut.select("user_id", "_too_short"), "user_id").select(
        "user_id", "item_id", F.when(F.col("_too_short"), TRAIN).otherwise(F.col("_home")).alias("_home")
    )
    placed = rows.join(homes, ["user_id", "item_id"], "left").join(cut, "user_id", "left")
    return placed, F.col("_too_short")


def leave_last(pairs: DataFrame, k: int) -> DataFrame:
    """Add `_home`, `_test_start` and `_valid_start` to the pairs (user_id, item_id, first_time) of each user.

    The k pairs met last (ties by item_id) are test, the k before `_test_start` are valid, what was met before
    `_valid_start` is train. A pair met at the very instant of a cut, but not held out, is `tied`: as training it would
    tell of the held-out ones, which came in the same basket.
    """
    newest = Window.partitionBy("user_id").orderBy(F.desc("first_time"), "item_id")
    so_far = newest.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    time = F.col("first_time")
    placed = pairs.withColumn("_place", F.row_number().over(newest))
    placed = placed.withColumn(
        "_test_start", F.last(F.when(F.col("_place") == k, time), ignorenulls=True).over(so_far)
    ).withColumn("_earlier", F.coalesce((F.col("_place") > k) & (time < F.col("_test_start")), F.lit(False)))
    placed = placed.withColumn("_valid_place", F.sum(F.col("_earlier").cast("int")).over(so_far)).withColumn(
        "_valid_start",
        F.last(F.when(F.col("_earlier") & (F.col("_valid_place") == k), time), ignorenulls=True).over(so_far),
    )
    home = (
        F.when(F.col("_place") <= k, TEST)
        .when(~F.col("_earlier"), _TIED)
        .when(F.col("_valid_place") <= k, VALID)
        .when(time < F.col("_valid_start"), TRAIN)
        .otherwise(_TIED)
    )
    return placed.withColumn("_home", home).drop("_place", "_earlier", "_valid_place")
