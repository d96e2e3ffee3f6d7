"""What a night measures of the lists that are out, and of its own against them; rows of `quality_metrics`.

No earlier release, nothing to measure. What is measured blocks only where a gate says so.
"""

import logging
from collections.abc import Iterable
from datetime import date, timedelta
from functools import reduce
from statistics import median

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Lists, Tables
from recsys_batch.contracts.gates import Check, Verdict, at_least
from recsys_batch.night.context import Run
from recsys_batch.rules.metrics.paired_tests import Interval
from recsys_batch.spark.datasets.labels import found_by_searching
from recsys_batch.spark.evaluation.accuracy import OUTCOME_METRICS, measure_keys
from recsys_batch.spark.evaluation.arms import arms_of
from recsys_batch.spark.evaluation.changes.pairs import ON_BOTH, list_rows, pair_keys, pair_rows
from recsys_batch.spark.evaluation.comparison import metric_interval
from recsys_batch.spark.evaluation.exposure import measure_coverage
from recsys_batch.spark.evaluation.published import acts_between, outcome_of, with_canonical_items
from recsys_batch.spark.evaluation.results import ListMetric, average_values
from recsys_batch.spark.evaluation.segments import bin_of
from recsys_batch.spark.publish.release import latest_release, read_release, read_staged

log = logging.getLogger("recsys_batch.night")

GATE = "_to_recent"
# Fewer earlier nights than this do not say what is usual.
_FEW_NIGHTS = 3
# Baskets of more items than this say little of any pair, and make a pair of every two.
_MAX_BASKET = 100
_SEGMENTS, _SEGMENT_EDGES = ("no acts", "1 to 2 acts", "3 to 10 acts", "11 acts or more"), (1, 3, 11)


def measure_lists_out(run: Run) -> list[Check]:
    """Return what came of the lists of an earlier date, and how far tonight's staged lists agree with the last ones.

    Those whose name ends in `GATE` may block. Adds the figures that later nights compare with to the run's counts.
    """
    dates = sorted(run.standing_before)
    if not dates:
        return []
    newest = latest_release(run.lake, dates[-1])
    checks = _agreement(run, newest)
    measured = [ds for ds in dates if ds <= run.ds - timedelta(days=run.config.measure.days)]
    if measured:
        log.info("publish: measuring the lists of %s against what came after", measured[-1])
        release = newest if measured[-1] == dates[-1] else latest_release(run.lake, measured[-1])
        assert release is not None  # its date has a row  # noqa: S101
        for table in run.facts.num_rows:
            if table in release.tables:
                checks += _outcome(run, table, release)
    return checks


def _outcome(run: Run, table: str, release: Row) -> list[Check]:
    match table:
        case Tables.USER_RECOMMENDATIONS:
            return _outcome_of_users(run, release)
        case Tables.QUERY_RECOMMENDATIONS:
            return _plain_outcome(run, table, release, found_by_searching(_since(run, release.ds)))
        case Tables.SIMILAR_ITEMS:
            return _plain_outcome(run, table, release, _together(run, release.ds))
        case _:
            return []


def _outcome_of_users(run: Run, release: Row) -> list[Check]:
    table, length, settings = Tables.USER_RECOMMENDATIONS, run.config.rerank.top_n, run.config.measure
    repeats = run.config.rerank.allow_repeats
    published = read_release(run.lake, release, table)
    outcome = outcome_of(
        published,
        run.items(),
        run.read_prepared(Tables.INTERACTIONS),
        release.ds,
        run.ds,
        event_types=settings.event_types,
        length=length,
        repeats=repeats,
        keep=run.hold,
    )
    # One pass for all that is compared: of a small shop, jobs are the cost.
    others = {"popularity": outcome.popular, **({"own recency": outcome.own} if repeats else {})}
    lists = outcome.lists
    runs = reduce(
        DataFrame.unionByName, (rows.withColumn("of", F.lit(of)) for of, rows in {"": lists, **others}.items())
    )
    asked = outcome.targets.withColumn("of", F.explode(F.array(*map(F.lit, ("", *others)))))
    case = F.struct("of", "user_id").alias("case")
    measured = measure_keys(
        runs.select(case, "item_id", "rank"),
        asked.select(case, "item_id"),
        metrics=OUTCOME_METRICS,
        ks=(length,),
        key="case",
    )
    values = run.hold(
        measured.select("case.*", *(f"`{metric}@{length}`" for metric in OUTCOME_METRICS))
        .join(outcome.num_acts, "user_id", "left")
        .withColumn("segment", F.when(F.col("of") == "", _segment()))
    )
    means = [F.avg(f"`{metric}@{length}`").alias(metric) for metric in OUTCOME_METRICS]
    found = values.groupBy("of", "segment").agg(F.count("*").alias("keys"), *means).orderBy("of", "segment").collect()
    ours = [row for row in found if not row["of"]]
    num_keys = sum(row["keys"] for row in ours)
    checks = [_row(table, "outcome_keys", num_keys)]
    if num_keys >= 2:
        ndcg = metric_interval(values.where(F.col("of") == ""), f"ndcg@{length}")
        for metric in OUTCOME_METRICS:
            name = f"outcome_{metric}@{length}"
            checks.append(_row(table, name, sum(row[metric] * row["keys"] for row in ours) / num_keys))
            checks += [_row(table, f"{name}[{row['of']}]", row[metric]) for row in found if row["of"]]
        checks += [_row(table, f"outcome_ndcg@{length}[{row.segment}]", row.ndcg) for row in ours]
        if run.config.experiment is not None and (arms := arms_of(published)) is not None:
            checks += _by_arm(values.where(F.col("of") == ""), arms, f"ndcg@{length}")
        checks += _coverage(run, lists, length)
        checks += _held_against_recent(run, ndcg, num_keys)
    values.unpersist()
    return checks


def _by_arm(values: DataFrame, arms: DataFrame, metric: str) -> list[Check]:
    means = (
        values.join(arms, "user_id").groupBy("arm").agg(F.avg(f"`{metric}`").alias("mean"), F.count("*").alias("keys"))
    )
    found = means.orderBy("arm").collect()
    return [
        _row(Tables.USER_RECOMMENDATIONS, f"outcome_{name}[arm {row.arm}]", value)
        for row in found
        for name, value in ((metric, row["mean"]), ("keys", row["keys"]))
    ]


def _coverage(run: Run, lists: DataFrame, length: int) -> list[Check]:
    items = run.items().where("item_index = canonical_index")
    found = measure_coverage(lists, lists.select("user_id").distinct(), items, ks=(length,))
    wanted = ("catalog_coverage", "top_share", "gini")
    return _rows(Tables.USER_RECOMMENDATIONS, [metric for metric in found if metric.metric in wanted])


def _held_against_recent(run: Run, ndcg: Interval, num_keys: int) -> list[Check]:
    """Block where even the upper end of the interval is far below what the nights before measured."""
    floor = run.config.gates.min_ndcg_to_recent
    recent = _recent(run, "publish.outcome_ndcg")
    run.summary.count("publish", outcome_keys=num_keys, outcome_ndcg=ndcg.mean)
    usual = median(recent) if len(recent) >= _FEW_NIGHTS else 0.0
    if usual <= 0 or num_keys < run.config.measure.min_keys or not floor:
        return []
    otherwise: Verdict = "block" if ndcg.high / usual < floor else "warn"
    return [at_least(Tables.USER_RECOMMENDATIONS, f"outcome_ndcg{GATE}", ndcg.mean / usual, floor, otherwise)]


def _agreement(run: Run, release: Row | None) -> list[Check]:
    """Hold the staged user lists against the last published ones: how many items a user's two lists share."""
    table, length = Tables.USER_RECOMMENDATIONS, run.config.rerank.top_n
    if table not in run.facts.num_rows or release is None or table not in release.tables:
        return []
    before, now = read_release(run.lake, release, table), read_staged(run.lake, table, run.run_id)
    keys = pair_keys(pair_rows(list_rows(before, table), list_rows(now, table))).where(ON_BOTH)
    same = F.min(F.col("model_before") == F.col("model_now"))
    row = keys.agg(F.count("*").alias("users"), F.avg("num_common").alias("common"), same.alias("same")).first()
    if row is None or not row.users:
        return []
    agreement = float(row.common) / length
    recent = _recent(run, "publish.agreement")
    run.summary.count("publish", agreement=agreement)
    checks = [_row(table, "agreement", agreement)]
    usual, floor = median(recent) if len(recent) >= _FEW_NIGHTS else 0.0, run.config.gates.min_agreement_to_recent
    if usual > 0 and floor and row.users >= run.config.measure.min_keys:
        # Another model makes other lists: that is what it is for.
        otherwise: Verdict = "block" if row.same else "warn"
        checks.append(at_least(table, f"agreement{GATE}", agreement / usual, floor, otherwise))
    return checks


def _plain_outcome(run: Run, table: str, release: Row, targets: DataFrame) -> list[Check]:
    """Measure lists by query or item; nobody's history is masked, and nothing is beside them."""
    length = run.config.rerank.top_n
    lists = read_release(run.lake, release, table).select(
        F.col(Lists.KEY[table]).alias("key"), F.col(Lists.ITEM[table]).alias("item_id"), "rank"
    )
    targets = with_canonical_items(targets, run.items())
    asked = targets.join(lists.select("key").distinct(), "key", "left_semi")
    found = average_values(measure_keys(lists, asked, metrics=OUTCOME_METRICS, ks=(length,), key="key"), key="key")
    return [_row(table, "outcome_keys", found[0].num_keys if found else 0), *_rows(table, found)]


def _since(run: Run, ds: date) -> DataFrame:
    return acts_between(run.read_prepared(Tables.INTERACTIONS), ds + timedelta(days=1), run.ds)


def _together(run: Run, ds: date) -> DataFrame:
    """Return (key, item_id): for each item the others that were bought in the same session."""
    wanted = F.col("event_type").isin(*run.config.measure.event_types) & ~F.col("undone")
    acts = _since(run, ds).where(wanted & F.col("item_id").isNotNull())
    baskets = acts.groupBy("user_id", "session_id").agg(F.collect_set("item_id").alias("items"))
    items = baskets.where(F.size("items").between(2, _MAX_BASKET)).select("items", F.explode("items").alias("key"))
    pairs = items.select("key", F.explode("items").alias("item_id"))
    return pairs.where(F.col("key") != F.col("item_id")).distinct()


def _recent(run: Run, count: str) -> list[float]:
    return [each[count] for each in run.earlier_counts if count in each]


def _segment() -> Column:
    return F.get(F.array(*map(F.lit, _SEGMENTS)), bin_of(F.coalesce("num_acts", F.lit(0)), _SEGMENT_EDGES))


def _rows(table: str, metrics: Iterable[ListMetric]) -> list[Check]:
    return [_row(table, f"outcome_{m.metric}@{m.k}", m.value) for m in metrics if m.num_keys]


def _row(table: str, name: str, value: float) -> Check:
    return Check(table, name, value, 0.0, "pass")
