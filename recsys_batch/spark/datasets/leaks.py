"""Leak checks: measured on the written rows, without the code that split them. And the texts that training may read."""

from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.splits import Split
from recsys_batch.contracts.datasets import SPLITS, TEST, TRAIN, VALID, PartSummary
from recsys_batch.contracts.gates import Check, at_least, at_most
from recsys_batch.spark.datasets.splits import SPLIT, TimeBounds

_TEXT_FIELDS = ("title", "brand", "description")


def check_leaks(table: str, rows: DataFrame, split: Split, ds: date) -> list[Check]:
    """Measure what must not be in the split `rows` (user_id, item_id, event_time, split) of one table.

    Where the table has labels, only label 1 makes a pair; where it has last_time, a row reaches up to then.
    """
    measured = rows.withColumn("_until", F.col("last_time") if "last_time" in rows.columns else F.col("event_time"))
    counts = _first_row(measured.agg(*_row_counts(measured, split, ds)), *_group_counts(measured, split))
    num_train, num_test = counts.pop(TRAIN), counts.pop(TEST)
    checks = [at_most(table, name, value, 0) for name, value in counts.items()]
    checks.append(at_least(table, "train_rows", num_train, 1, "block" if table == Tables.INTERACTIONS else "warn"))
    checks.append(at_least(table, "test_rows", num_test, 1, "warn"))
    return checks


def _first_row(frame: DataFrame, *others: DataFrame) -> dict[str, int]:
    """Return the values of frames of one row each; together they cost one job."""
    row = reduce(DataFrame.crossJoin, others, frame).first()
    assert row is not None  # an aggregate without groups has one row  # noqa: S101
    return {name: int(value) for name, value in row.asDict().items()}


def _group_counts(rows: DataFrame, split: Split) -> list[DataFrame]:
    """Return frames of one count each: what users, items and pairs of several parts must not show."""
    counts = []
    if split.kind != "time" or split.repeats == "drop":
        positive = rows.where("label = 1") if "label" in rows.columns else rows
        counts.append(_in_several_parts(positive, "pairs_in_several_parts", "user_id", "item_id"))
    if split.kind == "leave_last_k":
        counts.append(_out_of_order(rows))
    if split.kind in ("user", "cold_users"):
        counts.append(_in_several_parts(rows, "users_in_several_parts", "user_id"))
    if split.kind == "cold_items":
        counts.append(_in_several_parts(rows, "items_in_several_parts", "item_id"))
    return counts


def _row_counts(rows: DataFrame, split: Split, ds: date) -> list[Column]:
    bounds = TimeBounds.of(split, ds)
    end = F.lit(bounds.end).cast("timestamp")
    wanted = [F.count_if(F.col(SPLIT) == part).alias(part) for part in (TRAIN, TEST)]
    wanted.append(F.count_if(~F.coalesce(F.col(SPLIT).isin(*SPLITS), F.lit(False))).alias("rows_without_a_part"))
    wanted.append(F.count_if(F.col("_until") >= end).alias("rows_after_ds"))
    if split.kind in ("time", "leave_last_k"):
        wanted.append(F.count_if(F.col("event_time").isNull()).alias("rows_without_a_time"))
    if "item_valid_from" in rows.columns:
        later = F.col("item_valid_from") > F.col("event_time")
        wanted.append(F.count_if(later).alias("catalog_versions_later_than_the_event"))
    if split.kind == "time":
        starts = {VALID: bounds.valid_start, TEST: bounds.test_start}
        ends = {TRAIN: bounds.valid_start, VALID: bounds.test_start}
        for part, day in starts.items():
            early = (F.col(SPLIT) == part) & (F.col("event_time") < F.lit(day).cast("timestamp"))
            wanted.append(F.count_if(early).alias(f"{part}_rows_before_its_start"))
        for part, day in ends.items():
            late = (F.col(SPLIT) == part) & (F.col("_until") >= F.lit(day).cast("timestamp"))
            wanted.append(F.count_if(late).alias(f"{part}_rows_after_its_end"))
    return wanted


def _in_several_parts(rows: DataFrame, name: str, *keys: str) -> DataFrame:
    known = rows.where(" AND ".join(f"{key} IS NOT NULL" for key in keys))
    parts = known.groupBy(*keys).agg(F.min(SPLIT).alias("a"), F.max(SPLIT).alias("b"))
    return parts.agg(F.count_if(F.col("a") != F.col("b")).alias(name))


def _out_of_order(rows: DataFrame) -> DataFrame:
    """Count users with a row at or before the last row of an earlier part."""

    def first(part: str) -> Column:
        return F.min(F.when(F.col(SPLIT) == part, F.col("event_time"))).alias(f"first_{part}")

    def last(part: str) -> Column:
        return F.max(F.when(F.col(SPLIT) == part, F.col("_until"))).alias(f"last_{part}")

    users = rows.groupBy("user_id").agg(first(VALID), first(TEST), last(TRAIN), last(VALID))
    wrong = F.expr("first_test <= last_train OR first_test <= last_valid OR first_valid <= last_train")
    return users.agg(F.count_if(wrong).alias("users_trained_on_their_future"))


def training_texts(versions: DataFrame, train_end: date, held_out: DataFrame) -> DataFrame:
    """Return item_id, canonical_id, valid_from, category, text: each item's version in force when training ends.

    `versions` (item_id, canonical_id, valid_from, title, ...) are all that the catalog history knows; those from
    `train_end` on are not read. `held_out` (item_id) are items that only the test, or validation, has met: neither
    they nor their near-duplicates, which say the same, may shape vocabularies or train a model. The text holds title,
    brand and description, not the category: that is a label.
    """
    fields = [field for field in _TEXT_FIELDS if field in versions.columns]
    category = F.col("category") if "category" in versions.columns else F.lit(None).cast("string")
    known = versions.where(F.col("valid_from") < F.lit(train_end).cast("timestamp"))
    allowed = known.join(held_out.select(F.col("item_id").alias("canonical_id")), "canonical_id", "left_anti")
    row = F.struct("valid_from", F.concat_ws(". ", *fields).alias("text"), category.alias("category"))
    newest = allowed.groupBy("item_id", "canonical_id").agg(F.max(row).alias("v"))
    return newest.select("item_id", "canonical_id", "v.valid_from", "v.category", "v.text")


def held_out_items(rows: DataFrame) -> DataFrame:
    """Return item_id of the items that `rows` (item_id, split) has in valid or test, but not in train."""
    return rows.groupBy("item_id").agg(F.max(F.col(SPLIT) == TRAIN).alias("trained")).where("NOT trained")


def check_texts(texts: DataFrame, rows: DataFrame, train_end: date) -> list[Check]:
    """Measure the training texts: nothing of a test-only item or its near-duplicates, nothing known only later."""
    is_later = F.col("valid_from") >= F.lit(train_end).cast("timestamp")
    trained = rows.where(F.col(SPLIT) == TRAIN).select("item_id").distinct()
    untrained = rows.where(F.col(SPLIT) != TRAIN).select("item_id").distinct().join(trained, "item_id", "left_anti")
    told = texts.join(untrained.withColumnRenamed("item_id", "canonical_id"), "canonical_id", "left_semi")
    counts = _first_row(
        texts.agg(F.count_if(is_later).alias("versions_later_than_training")),
        told.agg(F.count("*").alias("texts_of_test_only_items")),
    )
    return [at_most(Tables.TRAINING_TEXTS, name, value, 0) for name, value in counts.items()]


def summarize_parts(rows: DataFrame) -> dict[str, PartSummary]:
    """Count and hash each part; the hash depends on the rows alone, not on their order, partitions or run."""
    columns = sorted(column for column in rows.columns if column not in ("run_id", SPLIT))
    # A null leaves a hash as it is, so which columns are null is hashed too.
    nulls = F.concat(*(F.col(column).isNull().cast("string") for column in columns))
    row_hash = F.xxhash64(nulls, *columns).cast("DECIMAL(20,0)")
    measured = rows.groupBy(SPLIT).agg(
        F.count("*").alias("rows"),
        F.countDistinct("user_id").alias("users"),
        F.countDistinct("item_id").alias("items"),
        F.sum(row_hash).alias("hash"),
    )
    found = {row[SPLIT]: PartSummary(row.rows, row.users, row.items, str(row.hash)) for row in measured.collect()}
    return {part: found.get(part, PartSummary(0, 0, 0, "0")) for part in SPLITS}
