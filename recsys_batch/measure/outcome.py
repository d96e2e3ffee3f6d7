"""What customers did in the days after a date: read from the sources, cleaned by the night's own rules."""

import os
from collections.abc import Sequence
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import InputNotReadyError
from recsys_batch.measure.known import canonical_items
from recsys_batch.rules.pseudonyms import read_key
from recsys_batch.spark.events.classify import classify_events
from recsys_batch.spark.events.interactions import match_undoings, weigh_interactions
from recsys_batch.spark.events.rows import normalize_events
from recsys_batch.spark.inputs.input_log import read_whole
from recsys_batch.spark.inputs.quarantine import STATUS, USED
from recsys_batch.spark.lake.prepared import read_prepared
from recsys_batch.spark.lake.tables import Lake


def read_outcome(
    lake: Lake, config: Config, ds: date, run_id: str, *, days: int, event_types: Sequence[str]
) -> DataFrame:
    """Return (user_id, item_id): which products of the catalog of `ds` users acted on in the `days` after it.

    `run_id` is the prepared run of `ds`. Acts that were taken back within these days do not count. Raises
    InputNotReadyError where the sources hold no such act.
    """
    prepare, last = config.prepare, ds + timedelta(days=days)
    key = read_key(prepare.pseudonymize_with, os.environ) if prepare.pseudonymize_with else None
    items = read_prepared(lake, Tables.ITEMS, ds, run_id)
    rows = read_whole(lake.spark, "events", config.sources.events, last, normalize_events(prepare, key)).rows
    after = prepare.model_copy(update={"lookback_days": days})
    classified = classify_events(rows, items, last, after, lambda frame, _: frame.persist())
    used = classified.rows.where(F.col(STATUS) == USED)
    acts = weigh_interactions(used, match_undoings(used), last, after)
    wanted = acts.where(
        ~F.col("undone") & F.col("event_type").isin(*event_types) & (F.to_date("event_time") > F.lit(ds))
    )
    products = canonical_items(lake, ds, run_id).select("item_index", "item_id")
    found = wanted.drop("item_id").join(products, "item_index").select("user_id", "item_id").distinct()
    if found.isEmpty():
        raise InputNotReadyError(
            f"sources.events: no {', '.join(event_types)} from {ds + timedelta(days=1)} to {last} by a user and of an "
            "item that the night could know; hold out days that the log has, or count more with --event-types"
        )
    return found
