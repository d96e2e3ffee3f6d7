"""Published lists by bins of users and queries, and two sides of a comparison, as the newest night knows what came."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.measure.bins import QUERY_KINDS, USER_KINDS, BinResult, mean_by_bin
from recsys_batch.measure.known import groups_of_items
from recsys_batch.rules.metrics.paired_tests import RunComparison
from recsys_batch.spark.datasets.labels import found_by_searching
from recsys_batch.spark.evaluation.accuracy import OUTCOME_METRICS, measure_keys
from recsys_batch.spark.evaluation.changes.sides import Side
from recsys_batch.spark.evaluation.comparison import compare_runs
from recsys_batch.spark.evaluation.published import (
    Outcome,
    acts_between,
    find_later,
    outcome_of,
    with_canonical_items,
)
from recsys_batch.spark.evaluation.results import ListMetric, average_values
from recsys_batch.spark.evaluation.segments import language_of
from recsys_batch.spark.lake.prepared import read_prepared
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import latest_release, read_release

OURS, POPULAR = "lists", "popular"


@dataclass(frozen=True)
class QueryResult:
    """What came of the query lists of a date."""

    metrics: list[ListMetric]
    bins: list[BinResult]


def bins_of_users(
    lake: Lake, ds: date, days: int, outcome: Outcome, ours: DataFrame, popular: DataFrame, metric: str
) -> list[BinResult]:
    """Return the mean of a metric by what users had done by `ds`, of the lists and of what was popular.

    `ours` and `popular` are values by user (`accuracy.measure_keys`).
    """
    later = find_later(lake, ds, days)
    groups = groups_of_items(lake, later.newest, later.prepared_run).select("item_id", "language", "category")
    acts = outcome.before.join(groups, "item_id", "left").groupBy("user_id")
    users = acts.agg(
        F.count("*").alias("num_acts"),
        F.datediff(F.lit(ds), F.max("day")).alias("days_since"),
        *(F.mode(name, deterministic=True).alias(name) for name in ("language", "category")),
    )
    ours, popular = (
        values.select("user_id", F.col(f"`{metric}`").alias(name))
        for name, values in ((OURS, ours), (POPULAR, popular))
    )
    rows = ours.join(popular, "user_id").join(users, "user_id", "left").fillna(0, ["num_acts"])
    return mean_by_bin(rows, USER_KINDS, (OURS, POPULAR))


def measure_queries(lake: Lake, ds: date, days: int, length: int) -> QueryResult | None:
    """Measure the query lists of `ds` on what was clicked, carted or bought after searching in the `days` since.

    Queries that nobody searched since, or found nothing by, do not count; None where no query is left, or no list was
    made of any.
    """
    table, later = Tables.QUERY_RECOMMENDATIONS, find_later(lake, ds, days)
    release = latest_release(lake, ds)
    if release is None or table not in release.tables:
        return None
    acts = read_prepared(lake, Tables.INTERACTIONS, later.newest, later.prepared_run)
    items = read_prepared(lake, Tables.ITEMS, later.newest, later.prepared_run)
    lists, targets = (
        with_canonical_items(rows, items)
        for rows in (
            read_release(lake, release, table).select(F.col("query").alias("key"), "item_id", "rank"),
            found_by_searching(acts_between(acts, ds + timedelta(days=1), later.last)),
        )
    )
    asked = targets.join(lists.select("key").distinct(), "key", "left_semi")
    values = measure_keys(lists, asked, metrics=OUTCOME_METRICS, ks=(length,), key="key").persist()
    metrics = average_values(values, key="key")
    searches = acts.where((F.col("event_type") == "search") & (F.to_date("event_time") <= F.lit(ds)))
    counts = searches.groupBy(F.col("query").alias("key")).agg(F.count("*").alias("num_searches"))
    rows = values.join(counts, "key", "left").select(
        F.coalesce("num_searches", F.lit(0)).alias("num_searches"),
        language_of(F.col("key")).alias("language"),
        F.col(f"`ndcg@{length}`").alias(OURS),
    )
    bins = mean_by_bin(rows, QUERY_KINDS, (OURS,))
    values.unpersist()
    return QueryResult(metrics, bins) if metrics and metrics[0].num_keys else None


def compare_outcomes(
    sides: tuple[Side, Side], *, days: int, event_types: Sequence[str], length: int, repeats: bool
) -> list[RunComparison]:
    """Return which side's user lists fared better, the second one's less the first one's, metric by metric.

    What counts are the acts of the `days` after the later side's date, of users who have a list on both. Without
    `repeats`, what a user had before does not. Raises InputNotReadyError where no later night knows it, or fewer than
    two users are left; ConfigError where a side has no user lists.
    """
    table, lake, ds = Tables.USER_RECOMMENDATIONS, sides[0].lake, max(side.facts.ds for side in sides)
    for side in sides:
        if table not in side.lists:
            raise ConfigError(f"run {side.facts.run_id} made no {table}: nothing is known of what came of its lists")
    later = find_later(lake, ds, days)
    items = read_prepared(lake, Tables.ITEMS, later.newest, later.prepared_run)
    acts = read_prepared(lake, Tables.INTERACTIONS, later.newest, later.prepared_run)
    before, now = (side.lists[table].select("user_id", "item_id", "rank") for side in sides)
    both = now.join(before.select("user_id").distinct(), "user_id", "left_semi")
    outcome = outcome_of(both, items, acts, ds, later.last, event_types=event_types, length=length, repeats=repeats)
    if outcome.targets.select("user_id").distinct().limit(2).count() < 2:
        raise InputNotReadyError(
            f"fewer than two users with a list on both sides did {', '.join(event_types)} of what counts from "
            f"{outcome.first} to {outcome.last}: publish later nights, or count more with --event-types"
        )
    ours, theirs = (
        measure_keys(lists, outcome.targets, metrics=OUTCOME_METRICS, ks=(length,)).persist()
        for lists in (outcome.lists, with_canonical_items(before, items))
    )
    compared = [compare_runs(ours, theirs, f"{metric}@{length}") for metric in OUTCOME_METRICS]
    ours.unpersist()
    theirs.unpersist()
    return compared
