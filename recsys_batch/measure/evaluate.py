"""The `evaluate` job: which measurement a config and its options ask for, and what it prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame, SparkSession
from rich.console import Console

from recsys_batch.contracts.columns import EVENT_TYPES
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.measure.bins import BinResult
from recsys_batch.measure.hold_out import HoldOut, dates_of, hold_out
from recsys_batch.measure.published import bins_of_users, compare_outcomes, measure_queries
from recsys_batch.measure.requests import measure_requests
from recsys_batch.measure.results import RunResult, measure_cuts
from recsys_batch.pipeline import run_night
from recsys_batch.report.comparison_table import print_arms, print_comparisons
from recsys_batch.report.evaluation_table import print_bins, print_runs
from recsys_batch.spark.evaluation.accuracy import OUTCOME_METRICS, measure_keys
from recsys_batch.spark.evaluation.arms import arm_values, compare_arms, published_arms
from recsys_batch.spark.evaluation.changes.sides import Side
from recsys_batch.spark.evaluation.comparison import compare_runs
from recsys_batch.spark.evaluation.published import follow_up
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import local_time, with_settings

Found = dict[str, object]


@dataclass(frozen=True)
class Asked:
    """What the options of the job say."""

    days: int = 7
    event_types: tuple[str, ...] = ("purchase",)
    hold_out: bool = False
    cuts: int = 1
    users: int = 20_000
    export: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant. Raises ConfigError."""
        for name, least in (("days", 1), ("cuts", 1), ("users", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name}: {getattr(self, name)} is less than {least}")
        if unknown := [each for each in self.event_types if each not in EVENT_TYPES]:
            raise ConfigError(f"--event-types: {unknown[0]!r} is unknown; known are {', '.join(EVENT_TYPES)}")
        if self.cuts > 1 and not self.hold_out:
            raise ConfigError("--cuts: only with --hold-out; published lists are of one date")
        if self.export and not self.hold_out:
            raise ConfigError("--export: only with --hold-out; published lists lie in the lake")


def evaluate(spark: SparkSession, config: Config, ds: date, asked: Asked, console: Console) -> Found:
    """Measure as asked, print the tables, and return the figures."""
    if asked.hold_out:
        return _hold_out(spark, config, ds, asked, console)
    lake = Lake.at(spark, config.lake.root)
    with with_settings(spark, local_time(config.prepare.timezone)):
        if config.sources.targets:
            return _measure_requests(lake, config, ds, asked, console)
        return _measure_users(lake, config, ds, asked, console)


def print_outcomes(config: Config, sides: tuple[Side, Side], asked: Asked, console: Console) -> Found:
    """Print which of two sides' user lists fared better against what came after, and return the figures."""
    with with_settings(sides[0].lake.spark, local_time(config.prepare.timezone)):
        compared = compare_outcomes(
            sides,
            days=asked.days,
            event_types=asked.event_types,
            length=config.rerank.top_n,
            repeats=config.rerank.allow_repeats,
        )
    names = [f"{side.facts.state} {side.facts.run_id}" for side in sides]
    types = ", ".join(asked.event_types)
    title = f"user lists of {names[1]} against those of {names[0]} (baseline): {types} of {asked.days} days since"
    print_comparisons(title, compared, "baseline", console)
    found = {
        each.metric: {"candidate": round(each.ours, 4), "baseline": round(each.baseline, 4)}
        | {"difference": [round(v, 4) for v in (each.difference.mean, each.difference.low, each.difference.high)]}
        for each in compared
    }
    return {"outcomes": {"users": compared[0].num_keys, **found}}


def _hold_out(spark: SparkSession, config: Config, ds: date, asked: Asked, console: Console) -> Found:
    options, length = HoldOut(asked.days, asked.event_types, asked.users, asked.export), config.rerank.top_n
    cuts = [hold_out(spark, config, cut, options, run_night) for cut in dates_of(ds, asked.days, asked.cuts)]
    with with_settings(spark, local_time(config.prepare.timezone)):
        results, bins = measure_cuts(cuts, length)
    dates = ", ".join(cut.ds.isoformat() for cut in cuts)
    kind = "anything" if config.rerank.allow_repeats else "what is new to the user"
    title = f"{config.name}: nights of {dates} against {', '.join(asked.event_types)} of {asked.days} days, {kind}"
    print_runs(title, ((r.run, r.values, r.against, r.shares) for r in results), console)
    title = f"ndcg@{length} by user, recall of targets by item: where it wins and loses"
    _print_bins(title, bins, console)
    return {
        "cuts": [cut.ds.isoformat() for cut in cuts],
        "days": asked.days,
        "users": len({user for cut in cuts for user in cut.users["user_id"].to_pylist()}),
        "runs": _figures(results),
    }


def _figures(results: Sequence[RunResult]) -> dict[str, dict[str, object]]:
    return {
        r.run: {m: [round(v.mean, 4), round(v.low, 4), round(v.high, 4)] for m, v in r.values.items()}
        | {name: round(share, 4) for name, share in r.shares.items()}
        | ({"settings": r.settings} if r.settings else {})
        for r in results
    }


def _measure_requests(lake: Lake, config: Config, ds: date, asked: Asked, console: Console) -> Found:
    results = measure_requests(lake, config, ds, asked.event_types)
    title = f"{config.name}: request lists of {ds} on the target of each request"
    print_runs(title, ((r.run, r.values, r.against, r.shares) for r in results), console)
    return {"runs": _figures(results)}


def _measure_users(lake: Lake, config: Config, ds: date, asked: Asked, console: Console) -> Found:
    length, types = config.rerank.top_n, asked.event_types
    outcome = follow_up(
        lake, ds, length=length, event_types=types, days=asked.days, repeats=config.rerank.allow_repeats
    )
    if outcome.targets.select("user_id").distinct().limit(2).count() < 2:
        raise InputNotReadyError(
            f"fewer than two users with a list did {', '.join(types)} of something new from {outcome.first} to "
            f"{outcome.last}: publish later nights, or count more with --event-types"
        )
    ours, popular = (
        measure_keys(lists, outcome.targets, metrics=OUTCOME_METRICS, ks=(length,)).persist()
        for lists in (outcome.lists, outcome.popular)
    )
    compared = [compare_runs(ours, popular, f"{metric}@{length}") for metric in OUTCOME_METRICS]
    title = f"{config.name}: lists of {ds} against {', '.join(types)} of {outcome.first} to {outcome.last}"
    print_comparisons(title, compared, "popular", console)
    by_user = bins_of_users(lake, ds, asked.days, outcome, ours, popular, f"ndcg@{length}")
    _print_bins(f"ndcg@{length} by user: where the lists win and lose", by_user, console)
    return {
        **_measure_arms(lake, config, ds, ours, [each.metric for each in compared], console),
        "days": [outcome.first.isoformat(), outcome.last.isoformat()],
        "users": compared[0].num_keys,
        **{each.metric: round(each.ours, 4) for each in compared},
        **{f"popular {each.metric}": round(each.baseline, 4) for each in compared},
        **_measure_queries(lake, ds, asked, length, console),
    }


def _measure_queries(lake: Lake, ds: date, asked: Asked, length: int, console: Console) -> Found:
    found = measure_queries(lake, ds, asked.days, length)
    if found is None:
        return {}
    _print_bins(f"ndcg@{length} of query lists on what was found by searching since", found.bins, console)
    metrics = {f"{each.metric}@{each.k}": round(each.value, 4) for each in found.metrics}
    return {"query_lists": {"queries": found.metrics[0].num_keys, **metrics}}


def _print_bins(title: str, bins: Sequence[BinResult], console: Console) -> None:
    print_bins(title, [(b.kind, b.name, b.size, b.values) for b in bins], console)


def _measure_arms(
    lake: Lake, config: Config, ds: date, values: DataFrame, metrics: Sequence[str], console: Console
) -> Found:
    arms = published_arms(lake, ds)
    if arms is None:
        return {}
    control = config.experiment.arms[0].name if config.experiment is not None else None
    compared = compare_arms(values, arms, metrics, control=control)
    print_arms(compared, console)
    return arm_values(compared)
