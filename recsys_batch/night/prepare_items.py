"""The catalog of the date: known items, one row each, completed, with a history, a text, and reviews to draw on."""

import logging
from statistics import median

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import ExpectationFailedError, InputNotReadyError
from recsys_batch.contracts.gates import Judged, at_least, refuse_unmet
from recsys_batch.night.context import Run
from recsys_batch.night.inputs import Intake, paths, write
from recsys_batch.spark.catalog.item_history import observe_items
from recsys_batch.spark.catalog.items import choose_items, classify_items, finish_items
from recsys_batch.spark.catalog.missing import fill_missing
from recsys_batch.spark.catalog.near_duplicates import link_near_duplicates
from recsys_batch.spark.catalog.review_sentences import review_sentences
from recsys_batch.spark.catalog.reviews import classify_reviews
from recsys_batch.spark.inputs.sources import read_table
from recsys_batch.spark.lake.indices import assign_indices

log = logging.getLogger("recsys_batch.night")
# Fewer items than this say nothing.
_FEW_ITEMS = 20
# A catalog that keeps less than this of itself is worth a look.
_USUAL_SHARE = 0.9


def prepare_items(intake: Intake) -> DataFrame:
    """Write items, item_history and reviews of the date; return the items."""
    run = intake.run
    config, settings = run.config, run.config.prepare
    classified = run.hold(
        classify_items(read_table(run.spark, "items", config.sources.items, run.ds), settings, run.ds)
    )
    used = intake.settle("items", classified)
    observe_items(run.lake, used, settings.history_columns, run.ds, _shows_the_date(run))
    chosen = run.park(choose_items(used, settings.item_duplicates), "prepare", "chosen_items")
    indices = assign_indices(run.lake, "item", chosen.select(F.col("item_id").alias("id")))
    indexed = chosen.join(indices.select(F.col("id").alias("item_id"), F.col("index").alias("item_index")), "item_id")
    parked = run.park(indexed, "prepare", "items")
    linked = run.park(link_near_duplicates(parked, settings.near_duplicates), "prepare", "linked_items")
    reviews = _prepare_reviews(intake, linked)
    number = config.item_text.review_sentences
    sentences = review_sentences(reviews, linked, number) if reviews is not None else None
    filled = run.park(fill_missing(linked, settings.missing), "prepare", "filled_items")
    finished = finish_items(
        filled,
        config.item_text,
        config.rerank.where,
        config.rerank.category_level,
        sentences,
    )
    items = write(run, Tables.ITEMS, finished)
    _count(run, items)
    _check_catalog(intake, items)
    classified.unpersist()
    return items


def _shows_the_date(run: Run) -> bool:
    """Whether the catalog sources show the catalog of the date: they name it, or no later night has been prepared."""
    if all("{ds}" in source.path for source in run.config.sources.items) or not run.lake.exists(Tables.ITEMS):
        return True
    later = run.lake.read(Tables.ITEMS).where(F.col("ds") > F.lit(run.ds)).select("ds").limit(1).collect()
    if later:
        log.info("prepare: a later night has been prepared: undated rows of the catalog do not enter item_history")
    return not later


def _prepare_reviews(intake: Intake, items: DataFrame) -> DataFrame | None:
    run = intake.run
    if not run.config.sources.reviews:
        return None
    raw = read_table(run.spark, "reviews", run.config.sources.reviews, run.ds)
    raw = intake.suppression.without(raw, run.config.prepare.id_case)
    classified = run.hold(classify_reviews(raw, items, run.config.prepare, run.ds, intake.user_key))
    reviews = write(run, Tables.REVIEWS, intake.settle("reviews", classified))
    classified.unpersist()
    return reviews


def _count(run: Run, items: DataFrame) -> None:
    fields = ("title", "brand", "category", "price")
    row = items.agg(
        F.count("*").alias("items"),
        F.count_if("eligible").alias("items_eligible"),
        F.count_if(F.col("canonical_index") != F.col("item_index")).alias("items_near_duplicates"),
        *(F.count_if(F.col("filled")[field].isNotNull()).alias(f"items_filled_{field}") for field in fields),
    ).first()
    if row is None or row["items"] == 0:
        raise InputNotReadyError(f"sources.items: no usable row for {run.ds}; paths: {paths(run.config.sources.items)}")
    run.summary.count("prepare", **row.asDict())


def _check_catalog(intake: Intake, items: DataFrame) -> None:
    """Hold the catalog against those of the nights before. Raises IncompleteInputError and ExpectationFailedError."""
    run = intake.run
    counts, gates = run.summary.counts, run.config.gates
    if not counts["prepare.items_eligible"]:
        _refuse_nothing_eligible(run, items)
    earlier = run.earlier_counts
    run.summary.previous = dict(earlier[0]) if earlier else {}
    floors = {"items": gates.min_items_to_recent, "items_eligible": gates.min_eligible_to_recent}
    judged = []
    for name, floor in floors.items():
        usual = median([each.get(f"prepare.{name}", 0.0) for each in earlier]) if earlier else 0.0
        if usual >= _FEW_ITEMS:
            share = counts[f"prepare.{name}"] / usual
            check = at_least("items", f"{name}_to_recent", share, floor)
            if check.verdict == "pass":
                check = at_least("items", f"{name}_to_recent", share, _USUAL_SHARE, "warn")
            hint = f"{counts[f'prepare.{name}']:,.0f} tonight, {usual:,.0f} in the nights before"
            judged.append(Judged(check, retry=name == "items", hint=hint))
    intake.note(each.check for each in judged)
    refuse_unmet(judged, run.run_id)


def _refuse_nothing_eligible(run: Run, items: DataFrame) -> None:
    where = run.config.rerank.where
    passes = F.coalesce(F.expr(where), F.lit(False)) if where else F.lit(True)
    row = items.agg(
        F.count("*").alias("items"),
        F.count_if(~F.coalesce("available", F.lit(False))).alias("unavailable"),
        F.count_if(~passes).alias("left_out"),
    ).first()
    assert row is not None  # a global aggregate has one row  # noqa: S101
    raise ExpectationFailedError(
        f"sources.items: 0 of {row['items']:,} items may be recommended: {row.unavailable:,} are not available "
        f"(sources.items.select.available), {row.left_out:,} are kept out by rerank.where; nothing was published, the "
        "previous release stands"
    )
