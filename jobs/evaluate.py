"""Offline metrics of published lists: spark-submit ... jobs/evaluate.py --config conf/X.yaml --ds DATE."""

import argparse
import json
from collections.abc import Sequence
from datetime import date

from pyspark.sql import DataFrame

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import InputNotReadyError
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.report.comparison_table import print_arms, print_comparisons
from recsys_batch.report.progress import open_console
from recsys_batch.rules.metrics.ranking import hit_rate, ndcg
from recsys_batch.spark.evaluation.accuracy import measure_keys
from recsys_batch.spark.evaluation.arms import arm_values, compare_arms, published_arms
from recsys_batch.spark.evaluation.comparison import compare_runs
from recsys_batch.spark.evaluation.published import follow_up
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.evaluation import target_ranks
from recsys_batch.spark.session import get_session, local_time, with_settings

METRICS = ("recall_min", "ndcg", "hit_rate")


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser(
        "How good the published lists of a date were: request lists on the held-out targets of the config, else user "
        "lists on what their users did in the days after."
    )
    parser.add_argument("--days", type=int, default=7, help="days after the date whose events count")
    parser.add_argument("--event-types", default="purchase", help="what counts, such as cart,purchase")
    args = parser.parse_args()
    config, ds = read_config(args), parse_ds(args.ds)
    spark = get_session(f"recsys-batch evaluate {config.name} {args.ds}")
    try:
        lake = Lake.at(spark, config.lake.root)
        measure = _measure_requests if config.sources.targets else _measure_users
        with with_settings(spark, local_time(config.prepare.timezone)):
            found = measure(lake, config, ds, args)
    finally:
        spark.stop()
    print(json.dumps({"config": config.name, "ds": args.ds, **found}))


def _measure_requests(lake: Lake, config: Config, ds: date, _: argparse.Namespace) -> dict[str, object]:
    ranks = target_ranks(lake, config, ds)
    metrics = {f"hr@{k}": round(hit_rate(ranks, k), 4) for k in (3, 10)} | {"ndcg@10": round(ndcg(ranks, 10), 4)}
    return {"cases": int(ranks.size), **metrics}


def _measure_users(lake: Lake, config: Config, ds: date, args: argparse.Namespace) -> dict[str, object]:
    length = config.rerank.top_n
    types = tuple(args.event_types.split(","))
    outcome = follow_up(lake, ds, length=length, event_types=types, days=args.days, repeats=config.rerank.allow_repeats)
    if outcome.targets.select("user_id").distinct().limit(2).count() < 2:
        raise InputNotReadyError(
            f"fewer than two users with a list did {', '.join(types)} of something new from {outcome.first} to "
            f"{outcome.last}: publish later nights, or count more with --event-types"
        )
    ours, popular = (
        measure_keys(lists, outcome.targets, metrics=METRICS, ks=(length,)).persist()
        for lists in (outcome.lists, outcome.popular)
    )
    compared = [compare_runs(ours, popular, f"{metric}@{length}") for metric in METRICS]
    title = f"{config.name}: lists of {ds} against {', '.join(types)} of {outcome.first} to {outcome.last}"
    print_comparisons(title, compared, "popular", open_console())
    return {
        **_measure_arms(lake, config, ds, ours, [each.metric for each in compared]),
        "days": [outcome.first.isoformat(), outcome.last.isoformat()],
        "users": compared[0].num_keys,
        **{each.metric: round(each.ours, 4) for each in compared},
        **{f"popular {each.metric}": round(each.baseline, 4) for each in compared},
    }


def _measure_arms(lake: Lake, config: Config, ds: date, values: DataFrame, metrics: Sequence[str]) -> dict[str, object]:
    arms = published_arms(lake, ds)
    if arms is None:
        return {}
    control = config.experiment.arms[0].name if config.experiment is not None else None
    compared = compare_arms(values, arms, metrics, control=control)
    print_arms(compared, open_console())
    return arm_values(compared)


if __name__ == "__main__":
    run_job(main)
