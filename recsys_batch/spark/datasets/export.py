"""From a finished dataset to files that training jobs read without Spark; see `contracts.example_schemas`.

No user id leaves the lake this way.
"""

from datetime import date, timedelta

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.datasets import TEST, TRAIN, VALID
from recsys_batch.contracts.example_schemas import ExampleTables, examples_folder
from recsys_batch.spark.datasets.labels import category_labels
from recsys_batch.spark.datasets.leaks import training_texts
from recsys_batch.spark.datasets.splits import SPLIT
from recsys_batch.spark.lake.manifests import read_manifest
from recsys_batch.spark.lake.prepared import read_prepared
from recsys_batch.spark.lake.tables import Lake

_ITEM_FIELDS = ("title", "brand", "description", "category")


def export_examples(lake: Lake, split: str, ds: date, category_levels: int) -> str:
    """Write the tables of `ExampleTables` for one dataset, replacing older ones, and return their folder's URI.

    `category_levels`: how many levels of a category path make a class. Raises ManifestNotFoundError where the dataset
    is not finished.
    """
    manifest = read_manifest(lake, split, ds)
    source = f"{Tables.DATASETS}/{split}"
    interactions = lake.read_ds(f"{source}/{Tables.INTERACTIONS}", ds)
    clicks = click_examples(lake.read_ds(f"{source}/{Tables.QUERY_ITEMS}", ds))
    tables = {
        ExampleTables.ITEMS: item_examples(
            lake.read_ds(f"{source}/{Tables.TRAINING_TEXTS}", ds),
            read_prepared(lake, Tables.ITEMS, ds, manifest.source_run_id),
            interactions,
            ds,
            category_levels,
        ),
        ExampleTables.RATINGS: lake.read_ds(f"{source}/{Tables.RATINGS}", ds).select(
            "item_id", "text", "rating", SPLIT
        ),
        ExampleTables.CLICKS: clicks,
        ExampleTables.QUERY_ITEMS: query_item_examples(clicks),
        ExampleTables.SESSIONS: session_examples(interactions),
    }
    folder = lake.path(examples_folder(split, ds))
    for name, frame in tables.items():
        frame.write.mode("overwrite").partitionBy(SPLIT).parquet(f"{folder}/{name}")
    return folder


def item_examples(
    texts: DataFrame, items: DataFrame, interactions: DataFrame, ds: date, category_levels: int
) -> DataFrame:
    """Return item_id, text, category (up to `category_levels` levels), split: one row a canonical item.

    `texts` are those that training may read (`leaks.training_texts`); such items are of part train. Of the other items
    of the catalog, those that validation has met (`interactions`: item_id, split) are of part valid, the rest of part
    test, with the text in force at the end of `ds`.
    """
    canonical = items.where(F.col("item_index") == F.col("canonical_index"))
    fields = [field for field in _ITEM_FIELDS if field in items.columns]
    known = canonical.select("item_id", F.col("item_id").alias("canonical_id"), *fields).withColumn(
        "valid_from", F.lit(ds).cast("timestamp")
    )
    nothing = interactions.select("item_id").limit(0)
    now = training_texts(known, ds + timedelta(days=1), nothing)
    trained = texts.join(canonical.select("item_id"), "item_id", "left_semi")
    rest = now.join(trained.select("item_id"), "item_id", "left_anti")
    valid = interactions.where(F.col(SPLIT) == VALID).select("item_id", F.lit(VALID).alias("_valid")).distinct()
    columns = ("item_id", "text", "category", "valid_from", SPLIT)
    rows = (
        trained.withColumn(SPLIT, F.lit(TRAIN))
        .select(*columns)
        .unionByName(
            rest.join(valid, "item_id", "left").withColumn(SPLIT, F.coalesce("_valid", F.lit(TEST))).select(*columns)
        )
    )
    labels = category_labels(rows, category_levels).select("item_id", F.element_at("categories", -1).alias("category"))
    return (
        rows.drop("category", "valid_from").join(labels, "item_id", "left").select("item_id", "text", "category", SPLIT)
    )


def click_examples(query_items: DataFrame) -> DataFrame:
    """Return query, item_id, label, weight, split of pairs as `labels.query_item_pairs` makes them."""
    return query_items.select("query", "item_id", "label", F.col("label_weight").alias("weight"), SPLIT)


def query_item_examples(clicks: DataFrame) -> DataFrame:
    """Return query, item_id, weight, split: each pair that was clicked once, with the sum of its weights."""
    chosen = clicks.where("label = 1").groupBy(SPLIT, "query", "item_id").agg(F.sum("weight").alias("weight"))
    return chosen.select("query", "item_id", "weight", SPLIT)


def session_examples(interactions: DataFrame) -> DataFrame:
    """Return item_ids, split: what one session met in its order, at least two items, repetitions at once left out.

    A session over the border of two parts is one session in each. Interactions without session make none.
    """
    session = ("user_id", "session_id", SPLIT)
    order = Window.partitionBy(*session).orderBy("event_time", "item_id")
    steps = (
        interactions.where("session_id IS NOT NULL")
        .withColumn("_before", F.lag("item_id").over(order))
        .where("_before IS NULL OR _before <> item_id")
        .groupBy(*session)
        .agg(F.array_sort(F.collect_list(F.struct("event_time", "item_id"))).alias("_steps"))
    )
    return steps.where("size(_steps) > 1").select(F.col("_steps.item_id").alias("item_ids"), SPLIT)
