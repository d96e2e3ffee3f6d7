"""The item index that scoring works on: catalog, vectors and co-visitation, and for a ranker its evidence.

Of tonight's interactions, or of those that were known at an earlier date.
"""

import logging

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import sparse

from recsys_batch.contracts.columns import EASE
from recsys_batch.contracts.config.ranker import Ranker
from recsys_batch.contracts.evidence import EVIDENCE
from recsys_batch.night.context import Run
from recsys_batch.night.encode import item_vectors
from recsys_batch.rules.item_models import ease_weights, largest_of_rows
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.retrieval.covisitation import covisitation_neighbors, daily_interactions, popularity
from recsys_batch.spark.retrieval.evidence import (
    aged_by_places,
    item_facts,
    item_neighbors,
    reference_users,
    user_acts,
)
from recsys_batch.spark.session import make_frame
from recsys_batch.workers.covisitation import CountPairs

log = logging.getLogger("recsys_batch.night")
# Acts that the driver takes for EASE.
_MAX_EASE_ACTS = 20_000_000


def write_index(run: Run, interactions: DataFrame, *place: str, ranker: Ranker | None = None) -> DataFrame | None:
    """Leave the index of the interactions in a folder of the run; count its pairs in the summary.

    With a `ranker` it has its evidence too, and the acts of users are returned (`evidence.user_acts`).
    """
    settings = run.config.retrieve
    daily = daily_interactions(interactions)
    if settings.ages == "places":
        daily = aged_by_places(daily)
    daily = daily.persist()
    popular = popularity(daily, settings.popularity.half_life_days)
    columns = ("item_index", "item_id", "title", "category_key", "brand", "eligible", "vector")
    items = (
        item_vectors(run)
        .join(popular, "item_index", "left")
        .select(*columns, F.coalesce("popularity", F.lit(0.0)).alias("popularity"))
    )
    run.leave(items.repartitionByRange(max(run.parallelism, 1), "item_id"), *place, "items")
    pairs = covisitation_neighbors(
        daily, lambda frame: map_batches(frame, CountPairs(settings.covisitation)), settings.covisitation
    )
    num_pairs = run.leave(pairs, *place, "covisitation").count()
    acts = _write_evidence(run, daily, ranker, *place) if ranker is not None else None
    daily.unpersist()
    run.summary.count("retrieve", covisitation_pairs=num_pairs)
    return acts


def _write_evidence(run: Run, daily: DataFrame, ranker: Ranker, *place: str) -> DataFrame:
    """Leave what a ranker knows besides, and return the acts of users."""

    def leave(frame: DataFrame, name: str) -> DataFrame:
        return run.leave(frame, *place, EVIDENCE, name)

    leave(_facts(run, daily), "facts")
    neighbors = item_neighbors(
        daily,
        lambda sequences, config, nearest: map_batches(sequences, CountPairs(config, nearest)),
        ranker.neighbors,
    )
    for name, pairs in neighbors.items():
        leave(pairs, name)
    leave(_ease(run, daily, ranker), EASE)
    leave(reference_users(daily, ranker.reference_users), "users")
    return leave(user_acts(daily, ranker.max_acts), "acts")


def _facts(run: Run, daily: DataFrame) -> DataFrame:
    facts = item_facts(daily)
    unknown = ("first_act", "last_act")
    counts = {name: F.coalesce(name, F.lit(0.0)) for name in facts.columns if name not in ("item_index", *unknown)}
    levels = F.split("category", r"\s*>\s*")
    catalog = run.items().select("item_index", "price", "brand", "category", levels[0].alias("category_top"))
    return catalog.join(facts, "item_index", "left").withColumns(counts)


def _ease(run: Run, daily: DataFrame, ranker: Ranker) -> DataFrame:
    """Return the strongest weights of EASE as pairs; none where the catalog or the log is too large for it."""
    schema = "item INT, neighbor INT, weight DOUBLE"
    if not ranker.ease_max_items:
        return make_frame(run.spark, [], schema)
    pairs = daily.select("user_id", "item_index").distinct()
    num_items, num_pairs = pairs.agg(F.count_distinct("item_index"), F.count("*")).collect()[0]
    if num_items > ranker.ease_max_items or num_pairs > _MAX_EASE_ACTS:
        log.warning(
            "EASE is left out: %s items that customers acted on are more than ranker.ease_max_items (%s), or their "
            "pairs with users more than %s",
            *(f"{num_items:,}", f"{ranker.ease_max_items:,}", f"{_MAX_EASE_ACTS:,}"),
        )
        return make_frame(run.spark, [], schema)
    rows = pairs.toArrow()
    names_I, items_E = np.unique(rows["item_index"].to_numpy(), return_inverse=True)
    users_E = rows["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    num_users = int(users_E.max(initial=-1)) + 1
    matrix_UI = sparse.csr_array((np.ones(len(items_E)), (users_E, items_E)), shape=(num_users, len(names_I)))
    weights_II = ease_weights(matrix_UI, ranker.ease_l2)
    items, others = largest_of_rows(weights_II, ranker.neighbors)
    made = pa.table(
        {
            "item": pa.array(names_I[items], pa.int32()),
            "neighbor": pa.array(names_I[others], pa.int32()),
            "weight": pa.array(weights_II[items, others], pa.float64()),
        }
    )
    return run.spark.createDataFrame(made)
