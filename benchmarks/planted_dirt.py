"""Precision and recall of every rule of `prepare` against the faults that the demo shop's generator planted.

Reads the tables that a night of `conf/demo.yaml` (or `--stage prepare`) wrote, and the shop's `truth`. What stands on
the events of bots and test accounts is left out of the event rules: those events are set aside as a whole, before.
"""

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

ROOT = Path(__file__).resolve().parent.parent
REASONS = {
    "null_user_id": "missing_user_id",
    "null_item_id": "missing_item_id",
    "unknown_item": "unknown_item",
    "exact_duplicate": "duplicate",
    "duplicate_click": "duplicate_click",
    "future_timestamp": "future_event",
    "clock_error": "clock_error",
}
SPOILED_IDS = ("item_id_case", "item_id_padding", "item_id_full_width", "user_id_case", "user_id_padding")
SPOILED = (*SPOILED_IDS, "user_id_full_width")


@dataclass(frozen=True)
class Score:
    """How a rule's findings compare with what was planted."""

    rule: str
    planted: int
    found: int
    both: int

    @property
    def precision(self) -> float:
        """Share of the findings that were planted."""
        return self.both / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """Share of the planted that was found."""
        return self.both / self.planted if self.planted else 1.0


def compare(rule: str, planted: DataFrame, found: DataFrame) -> Score:
    """Compare two frames with the column `key`."""
    planted, found = planted.select("key").distinct(), found.select("key").distinct()
    return Score(rule, planted.count(), found.count(), planted.join(found, "key").count())


def score_rules(spark: SparkSession, shop: str, lake: str, ds: str) -> list[Score]:
    """Score every rule that has planted faults."""

    def table(name: str) -> DataFrame:
        return spark.read.format("delta").load(f"{lake}/{name}").where(F.col("ds") == F.lit(ds).cast("date"))

    dirt = spark.read.parquet(f"{shop}/truth/dirt").select("kind", "key").persist()
    users = spark.read.parquet(f"{shop}/truth/users")
    refused = table("events_quarantine").select(F.col("event_id").alias("key"), "user_id", "reason").persist()
    interactions, items = table("interactions"), table("items").persist()
    aside = refused.where("reason IN ('bot', 'test_account', 'reseller', 'over_cap')").select("key")

    def planted(kind: str, upper: bool = False) -> DataFrame:
        key = F.upper("key") if upper else F.col("key")
        return dirt.where(F.col("kind") == kind).select(key.alias("key"))

    scores = []
    for kind, reason in REASONS.items():
        # Whether an item is known is asked last; the other faults are seen on everybody's events.
        due = planted(kind).join(aside, "key", "left_anti") if kind == "unknown_item" else planted(kind)
        scores.append(compare(kind, due, refused.where(F.col("reason") == reason)))
    late = interactions.where("late").select(F.col("event_id").alias("key"))
    scores.append(compare("late_event", planted("late_event").join(aside, "key", "left_anti"), late))
    scores += [_canonical(interactions, dirt, kind) for kind in SPOILED]
    accounts = table("accounts").select(F.col("user_id").alias("key"), "kind")
    for kind in ("bot", "reseller"):
        truth = users.where(f"is_{kind}").select(F.upper("user_id").alias("key"))
        scores.append(compare(kind, truth, accounts.where(F.col("kind") == kind)))
    testers = refused.where("reason = 'test_account'").select(F.col("user_id").alias("key"))
    scores.append(compare("test_account", users.where("is_test").select(F.upper("user_id").alias("key")), testers))
    scores += _catalog_scores(spark, shop, items, planted)
    return scores


def _canonical(interactions: DataFrame, dirt: DataFrame, kind: str) -> Score:
    """Of the used events with a spoiled id: how many stand under the one right id, known from the other events."""
    column = "item_id" if kind.startswith("item") else "user_id"
    spoiled = interactions.join(dirt.where(F.col("kind") == kind).select(F.col("key").alias("event_id")), "event_id")
    right = F.col(column).rlike("^SKU-[0-9]{5}$" if column == "item_id" else "^U[0-9]{7}$|^TEST_[0-9]{7}$")
    rows = spoiled.select(F.col("event_id").alias("key"), right.alias("right")).persist()
    return Score(kind, rows.count(), rows.where("right").count(), rows.where("right").count())


def _catalog_scores(spark: SparkSession, shop: str, items: DataFrame, planted) -> list[Score]:
    truth = spark.read.parquet(f"{shop}/truth/items").select(
        F.upper("item_id").alias("item_id"), F.upper("canonical_item_id").alias("canonical"), "brand", "leaf"
    )
    pair: Column = F.concat_ws("|", "item_id", "canonical")
    twins = truth.where("item_id <> canonical").select(pair.alias("key"))
    linked = items.where("canonical_item_id <> item_id").select(
        F.concat_ws("|", "item_id", "canonical_item_id").alias("key")
    )
    # Which of two twins is the canonical one is the shop's choice: pairs are compared without order.
    ordered = F.array_join(F.array_sort(F.split("key", r"\|")), "|")
    scores = [compare("near_duplicate", twins.select(ordered.alias("key")), linked.select(ordered.alias("key")))]
    markup = items.where("description RLIKE '<[a-z]|&[a-z#0-9]+;'").select(F.col("item_id").alias("key"))
    dirty = planted("html_description", upper=True)
    scores.append(compare("html_description", dirty, dirty.join(markup, "key", "left_anti")))
    stale = items.where("title RLIKE 'old listing|旧款'").select(F.col("item_id").alias("key"))
    conflicting = planted("conflicting_row", upper=True)
    scores.append(compare("conflicting_row", conflicting, conflicting.join(stale, "key", "left_anti")))
    for kind, column in (("missing_brand", "brand"), ("missing_category", "category"), ("missing_price", "price")):
        touched = items.where(F.col("filled").getItem(column).isNotNull() | F.col(column).isNull())
        scores.append(compare(kind, planted(kind, upper=True), touched.select(F.col("item_id").alias("key"))))
    return scores


def main() -> None:
    """Parse, score, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shop", default=os.environ.get("DEMO_SHOP", "lake/demo_shop"))
    parser.add_argument("--lake", default="lake/demo")
    parser.add_argument("--ds", default="2026-06-30")
    options = parser.parse_args()
    builder = SparkSession.builder.master("local[*]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.jars", ",".join(map(str, (ROOT / ".cache/jars").glob("*.jar"))))
    builder = builder.config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension").config(
        "spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog"
    )
    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.ui.showConsoleProgress": "false",
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    scores = score_rules(spark, options.shop, options.lake, options.ds)
    spark.stop()
    print(f"{'rule':<22}{'planted':>9}{'found':>9}{'precision':>11}{'recall':>9}")
    for score in scores:
        print(f"{score.rule:<22}{score.planted:>9,}{score.found:>9,}{score.precision:>11.4f}{score.recall:>9.4f}")
    worst = min(min(score.precision, score.recall) for score in scores)
    print(json.dumps({"benchmark": "planted_dirt", "rules": len(scores), "worst": round(worst, 4)}))
    sys.exit(0 if worst >= 0.95 else 1)


if __name__ == "__main__":
    main()
