"""Training data of one date: labels from the prepared tables, split, checked for leaks, and a manifest written last.

Works on what the night's `prepare` left in the lake; it reads no source. All splits share one position curve, fitted on
the whole window: it describes the shop's pages, not its users and items, and it only weighs labels.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.config.splits import Split
from recsys_batch.contracts.datasets import (
    DatasetManifest,
    PartSummary,
    PreparedTablesMissingError,
    choose_splits,
    refuse_leaks,
)
from recsys_batch.contracts.gates import Check
from recsys_batch.contracts.identity import code_version
from recsys_batch.rules.metrics.propensity import PositionCurve, fit_position_curve
from recsys_batch.spark.catalog.item_history import item_versions
from recsys_batch.spark.datasets.labels import (
    category_labels,
    count_positions,
    query_item_pairs,
    rating_labels,
    session_results,
)
from recsys_batch.spark.datasets.leaks import check_leaks, check_texts, held_out_items, summarize_parts, training_texts
from recsys_batch.spark.datasets.splits import DROPPED, SPLIT, assign_split, signals_of, train_end_of
from recsys_batch.spark.lake.manifests import remove_manifest, write_manifest
from recsys_batch.spark.lake.prepared import read_prepared
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import prepared_run
from recsys_batch.spark.session import local_time, with_settings

log = logging.getLogger("recsys_batch.night")

_LABELS = f"{Tables.DATASETS}/labels"
_INTERACTION_COLUMNS = (
    *("event_id", "user_id", "item_id", "item_index", "event_type", "event_time", "session_id", "quantity", "rating"),
    *("type_weight", "weight", "item_valid_from"),
)


@dataclass(frozen=True)
class _Prepared:
    """What all splits of one date are made from."""

    lake: Lake
    config: Config
    ds: date
    run_id: str
    tables: dict[str, DataFrame]
    """Table -> rows to split."""
    signals: DataFrame
    versions: DataFrame
    curve: PositionCurve | None


def make_datasets(lake: Lake, config: Config, ds: date, names: Sequence[str] = ()) -> list[DatasetManifest]:
    """Write labels and the splits of these names (all where none is given) for `ds`; return their manifests.

    Raises PreparedTablesMissingError where the night has not prepared `ds`, ConfigError on an unknown name, and
    LeakError where a check fails; the dataset at fault then has no manifest.
    """
    with with_settings(lake.spark, local_time(config.prepare.timezone)):
        return _make_datasets(lake, config, ds, names)


def _make_datasets(lake: Lake, config: Config, ds: date, names: Sequence[str]) -> list[DatasetManifest]:
    splits = choose_splits(config.datasets.splits, list(names))
    prepared = _prepare(lake, config, ds)
    manifests = []
    for split in splits:
        log.info("dataset %s: %s", split.name, split.kind)
        manifests.append(_make_dataset(prepared, split))
    return manifests


def _prepare(lake: Lake, config: Config, ds: date) -> _Prepared:
    """Write the label tables and read them back."""
    run_id = prepared_run(lake, ds)
    if run_id is None:
        raise PreparedTablesMissingError(
            f"{lake.root}: {ds} is not prepared; run jobs/nightly.py for this date first (its prepare stage is enough: "
            "--stage prepare)"
        )
    for table in (Tables.INTERACTIONS, Tables.ITEMS):
        if not lake.exists(table) or read_prepared(lake, table, ds, run_id).isEmpty():
            raise PreparedTablesMissingError(
                f"{lake.path(table)}: no rows of {ds} and run {run_id}, whose tables are those of the date; run "
                "jobs/nightly.py for this date again, with --force"
            )
    items = read_prepared(lake, Tables.ITEMS, ds, run_id)
    interactions = _with_canonical_ids(read_prepared(lake, Tables.INTERACTIONS, ds, run_id), items)
    results = session_results(interactions).persist(StorageLevel.DISK_ONLY)
    curve = _fit_curve(results, config)
    pairs = query_item_pairs(results, curve, config.datasets.max_label_weight)
    query_items = _write(lake, f"{_LABELS}/{Tables.QUERY_ITEMS}", pairs, ds, run_id)
    results.unpersist()
    ratings = _write(lake, f"{_LABELS}/{Tables.RATINGS}", _ratings(lake, interactions, items, ds, run_id), ds, run_id)
    signals = signals_of(interactions)
    tables = {
        Tables.INTERACTIONS: signals.select(*_INTERACTION_COLUMNS),
        Tables.QUERY_ITEMS: query_items,
        Tables.RATINGS: ratings,
    }
    versions = item_versions(lake, ds, config.prepare.history_columns)
    canonical = versions.join(_canonical_ids(items), "item_id")
    return _Prepared(lake, config, ds, run_id, tables, signals, canonical, curve)


def _make_dataset(prepared: _Prepared, split: Split) -> DatasetManifest:
    """Split every table, write it, check what was written, and write the manifest."""
    lake, ds, config = prepared.lake, prepared.ds, prepared.config
    remove_manifest(lake, split.name, ds)
    checks: list[Check] = []
    summaries: dict[str, dict[str, PartSummary]] = {}
    dropped: dict[str, dict[str, int]] = {}
    for table, rows in prepared.tables.items():
        # Read twice, and dear to make.
        assigned = assign_split(rows, prepared.signals, split, ds, config.seed).persist(StorageLevel.DISK_ONLY)
        reasons = assigned.where(F.col(SPLIT).isNull()).groupBy(DROPPED).count().collect()
        dropped[table] = {row[DROPPED]: row["count"] for row in sorted(reasons)}
        kept = assigned.where(F.col(SPLIT).isNotNull()).drop(DROPPED)
        written = _write(lake, f"{Tables.DATASETS}/{split.name}/{table}", kept, ds, prepared.run_id)
        assigned.unpersist()
        checks += check_leaks(table, written, split, ds)
        refuse_leaks(checks, split.name, ds)
        summaries[table] = summarize_parts(written)
    texts, text_checks = _write_texts(prepared, split)
    checks += text_checks
    refuse_leaks(checks, split.name, ds)
    manifest = DatasetManifest(
        name=split.name,
        ds=ds.isoformat(),
        kind=split.kind,
        seed=config.seed,
        settings=split.model_dump(mode="json"),
        source_run_id=prepared.run_id,
        code_version=code_version(),
        tables=summaries,
        dropped=dropped,
        item_texts=texts,
        position_curve=asdict(prepared.curve) if prepared.curve is not None else None,
        checks=tuple(checks),
    )
    write_manifest(lake, manifest)
    return manifest


def _write_texts(prepared: _Prepared, split: Split) -> tuple[dict[str, Any], list[Check]]:
    """Write the texts and category labels that training may read."""
    lake, ds = prepared.lake, prepared.ds
    folder = f"{Tables.DATASETS}/{split.name}"
    train_end = train_end_of(split, ds)
    rows = lake.read_ds(f"{folder}/{Tables.INTERACTIONS}", ds).select("item_id", SPLIT)
    made = training_texts(prepared.versions, train_end, held_out_items(rows))
    texts = _write(lake, f"{folder}/{Tables.TRAINING_TEXTS}", made, ds, prepared.run_id)
    labels = category_labels(texts, prepared.config.datasets.category_levels)
    written = _write(lake, f"{folder}/{Tables.CATEGORY_LABELS}", labels, ds, prepared.run_id)
    source = {
        "source": Tables.ITEM_HISTORY,
        "known_before": train_end.isoformat(),
        "texts": texts.count(),
        "with_category": written.count(),
    }
    return source, check_texts(texts, rows, train_end)


def _fit_curve(results: DataFrame, config: Config) -> PositionCurve | None:
    group_by = config.datasets.position_bias
    if group_by == "none":
        return None
    counts = count_positions(results, group_by, config.datasets.max_position)
    return fit_position_curve(counts) if counts else None


def _ratings(lake: Lake, interactions: DataFrame, items: DataFrame, ds: date, run_id: str) -> DataFrame:
    if not lake.exists(Tables.REVIEWS):
        return rating_labels(interactions, None)
    reviews = read_prepared(lake, Tables.REVIEWS, ds, run_id).join(_canonical_ids(items), "item_id")
    return rating_labels(interactions, reviews.drop("item_id").withColumnRenamed("canonical_id", "item_id"))


def _with_canonical_ids(interactions: DataFrame, items: DataFrame) -> DataFrame:
    """Name each interaction's item by its canonical one, which its item_index is of: near-duplicates are one item."""
    ids = items.select("item_index", F.col("item_id").alias("canonical_id"))
    joined = interactions.join(ids, "item_index", "left").drop("item_id")
    return joined.withColumnRenamed("canonical_id", "item_id")


def _canonical_ids(items: DataFrame) -> DataFrame:
    ids = items.select(F.col("item_index").alias("canonical_index"), F.col("item_id").alias("canonical_id"))
    return items.select("item_id", "canonical_index").join(ids, "canonical_index").select("item_id", "canonical_id")


def _write(lake: Lake, name: str, frame: DataFrame, ds: date, run_id: str) -> DataFrame:
    lake.replace_ds(name, frame.withColumn("ds", F.lit(ds)).withColumn("run_id", F.lit(run_id)), ds)
    return lake.read_ds(name, ds).drop("ds", "run_id")
