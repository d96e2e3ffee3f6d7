"""Stage `prepare`: sources become the catalog, interactions, user histories and requests of the date."""

from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.night.context import Run, log
from recsys_batch.night.inputs import Intake, write
from recsys_batch.night.prepare_events import prepare_events
from recsys_batch.night.prepare_items import prepare_items
from recsys_batch.spark.catalog.exclusions import classify_exclusions
from recsys_batch.spark.catalog.requests import classify_requests
from recsys_batch.spark.events.histories import user_histories
from recsys_batch.spark.inputs.sources import read_table
from recsys_batch.spark.lake.indices import assign_indices


def prepare(run: Run) -> None:
    """Write every prepared table of the date, and the quarantine tables."""
    with run.telling("prepare"):
        _prepare(run)


def _prepare(run: Run) -> None:
    intake = Intake(run)
    # First of all: a list that cannot be read must end the night before it writes anything.
    if intake.suppression.hashes:
        log.info("prepare: %d users are suppressed: their rows are read past", len(intake.suppression.hashes))
    try:
        items = prepare_items(intake)
        interactions = prepare_events(intake, items)
        if run.config.sources.requests and run.config.lists.requests:
            raw = read_table(run.spark, "requests", run.config.sources.requests, run.ds)
            write(run, Tables.REQUESTS, intake.settle("requests", classify_requests(raw, run.config.prepare.id_case)))
        if run.config.sources.exclusions:
            raw = read_table(run.spark, "exclusions", run.config.sources.exclusions, run.ds)
            raw = intake.suppression.without(raw, run.config.prepare.id_case)
            classified = classify_exclusions(raw, items, run.config.prepare, intake.user_key)
            write(run, Tables.EXCLUSIONS, intake.settle("exclusions", classified))
    finally:
        intake.close()
    histories = user_histories(interactions, run.config.prepare)
    indices = assign_indices(run.lake, "user", histories.select(F.col("user_id").alias("id")))
    numbered = histories.join(
        indices.select(F.col("id").alias("user_id"), F.col("index").alias("user_index")), "user_id"
    )
    known = write(run, Tables.USER_HISTORIES, numbered)
    row = known.agg(
        F.count("*").alias("users"), F.count_if(F.size("history") == 0).alias("users_without_history")
    ).first()
    run.summary.count("prepare", **(row.asDict() if row is not None else {}))
