"""A night of an earlier date, of which it is known what came after, beside baselines that knew as much."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy import sparse

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import InputNotReadyError
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.measure.baselines import Cases, all_baselines, describe, trial_of_days, tuned_lists
from recsys_batch.measure.known import Known, groups_of_items, names_of, read_known
from recsys_batch.measure.outcome import read_outcome
from recsys_batch.replay.train import train_ranker
from recsys_batch.report.summary import RunSummary
from recsys_batch.rules.baselines.log import Indices
from recsys_batch.spark.evaluation.published import with_canonical_items
from recsys_batch.spark.lake.files import delete_folder
from recsys_batch.spark.lake.prepared import read_prepared
from recsys_batch.spark.lake.runs import RUNS, stages_of
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import read_staged
from recsys_batch.spark.session import local_time, with_settings
from recsys_batch.training.registry.versions import REGISTRY_PREFIX

log = logging.getLogger("recsys_batch.evaluate")
RunNight = Callable[[SparkSession, Config, date, NightOptions, RunSummary], None]

NIGHT = "this night"
# Below the config's own lake, so that nothing of it is ever taken for a published night.
_FOLDER = "hold_out"


@dataclass(frozen=True)
class HoldOut:
    """What is held out, and for how many users lists are compared."""

    days: int = 7
    event_types: tuple[str, ...] = ("purchase",)
    max_users: int = 20_000
    export: str = ""
    """Folder that gets the data and the lists as Parquet files, for recommenders of other environments."""


@dataclass(frozen=True)
class Cut:
    """One date: the lists of the night and of the baselines for users of whom it is known what they did next."""

    ds: date
    lists: DataFrame
    """run (`NIGHT` or a baseline), user_id, item_id, rank."""
    targets: DataFrame
    """user_id, item_id."""
    users: pa.Table
    """user_id, and what groups users: num_acts, days_since (their newest act), language and category of most acts."""
    items: DataFrame
    """item_id, and what groups targets: num_users, age_days (since the first act on it), language, category."""
    settings: dict[str, str]
    """Baseline -> the settings that were chosen."""


def hold_out(spark: SparkSession, config: Config, ds: date, options: HoldOut, run_night: RunNight) -> Cut:
    """Run the night of `ds` on what was known then, and make the lists of the baselines on the same.

    It is run in a lake of its own below the config's, goes on from what an earlier call left there, and publishes
    nothing. Users are those with a list and a target; of more than `max_users` a random sample. Unless the config
    allows repeats, what a user had before is no target. A ranker is trained on what was known. Raises
    InputNotReadyError where fewer than two users are left.
    """
    config = _held_out(config)
    summary = RunSummary(config.name, ds.isoformat())
    if config.ranker is not None:
        # One that could have been trained then: the shop's own champion has seen what is held out.
        report = train_ranker(spark, config, ds, promoting=False)
        pinned = config.ranker.model_copy(update={"model": f"{REGISTRY_PREFIX}{report.name}@{report.version}"})
        config = config.model_copy(update={"ranker": pinned})
    run_night(spark, config, ds, NightOptions(resume=True, publish=False), summary)
    lake = Lake.at(spark, config.lake.root)
    with with_settings(spark, local_time(config.prepare.timezone)):
        return _compare(lake, config, ds, options, summary.run_id)


def _compare(lake: Lake, config: Config, ds: date, options: HoldOut, run_id: str) -> Cut:
    repeats, length = config.rerank.allow_repeats, config.rerank.top_n
    facts = stages_of(lake, run_id)[-1].facts
    prepared = facts.made_by.get("prepare", run_id)
    log.info("reading what %s could know, and what came after", ds)
    known = read_known(lake, ds, prepared, options.event_types)
    outcome = read_outcome(lake, config, ds, prepared, days=options.days, event_types=options.event_types).toArrow()
    staged = read_staged(lake, Tables.USER_RECOMMENDATIONS, run_id)
    listed = known.numbers_of_keys(names_of(staged.select("user_id").distinct().toArrow()["user_id"]))
    targets = known.targets(names_of(outcome["user_id"]), names_of(outcome["item_id"]))
    if not repeats:
        targets = known.counted.new_only(targets)
    keys_B = np.intersect1d(np.flatnonzero(np.diff(targets.indptr)), listed)
    if len(keys_B) < 2:
        raise InputNotReadyError(
            f"{len(keys_B)} user(s) with a list did {', '.join(options.event_types)} of "
            f"{'anything' if repeats else 'something new'} in the {options.days} days after {ds}: hold out more days, "
            "or count more with --event-types"
        )
    keys_B = np.sort(np.random.default_rng(config.seed).permutation(keys_B)[: options.max_users])
    cases = Cases(known.counted, known.all_acts, keys_B)
    trial = trial_of_days(known, options.days, repeats=repeats)
    folder = lake.path(f"{RUNS}/{run_id}/checkpoints")
    made = list(
        tuned_lists(
            all_baselines(lake.spark, folder, repeats=repeats, seed=config.seed),
            *(known, trial, cases, length),
            repeats=repeats,
        )
    )
    delete_folder(lake.spark, folder)
    groups = groups_of_items(lake, ds, prepared).where("item_index = canonical_index").orderBy("item_id").toArrow()
    kept = targets[keys_B].tocoo()
    wanted = pa.table({"user_id": known.keys_K[keys_B[kept.row]], "item_id": known.items_I[kept.col]})
    users = lake.spark.createDataFrame(pa.table({"user_id": known.keys_K[keys_B]}))
    lists = with_canonical_items(staged, read_prepared(lake, Tables.ITEMS, ds, prepared))
    ours = lists.join(users, "user_id", "left_semi").select(F.lit(NIGHT).alias("run"), "user_id", "item_id", "rank")
    others = pa.concat_tables([_table(each.name, each.lists_BN, known, keys_B) for each in made])
    if options.export:
        both = pa.concat_tables([ours.toArrow().cast(others.schema), others])
        _export(Path(options.export) / ds.isoformat(), known, wanted, both)
    return Cut(
        ds,
        ours.unionByName(lake.spark.createDataFrame(others)),
        lake.spark.createDataFrame(wanted),
        _facts_of_users(known, keys_B, groups),
        lake.spark.createDataFrame(_facts_of_items(known, groups)),
        {each.name: describe(each.settings) for each in made},
    )


def _held_out(config: Config) -> Config:
    """Return the config with a lake of its own, nothing but user lists, and all of them by its own settings."""
    lists = config.lists.model_copy(update={"users": True, "similar_items": False, "queries": 0, "requests": False})
    lake = config.lake.model_copy(update={"root": f"{config.lake.root.rstrip('/')}/{_FOLDER}", "catalog_schema": ""})
    # Models stay the shop's, and its champions where they are.
    registry = config.training.registry or f"{config.lake.root.rstrip('/')}/models"
    learning = config.ranker_training
    changed = {
        "lake": lake,
        "lists": lists,
        "training": config.training.model_copy(update={"registry": registry}),
        "ranker_training": learning.model_copy(update={"name": f"{learning.name}-{_FOLDER}"}),
        "experiment": None,
    }
    return config.model_copy(update=changed)


def _table(name: str, lists_BN: Indices, known: Known, keys_B: Indices) -> pa.Table:
    rows, places = np.nonzero(lists_BN >= 0)
    return pa.table(
        {
            "run": pa.array([name] * len(rows), pa.string()),
            "user_id": pa.array(known.keys_K[keys_B[rows]], pa.string()),
            "item_id": pa.array(known.items_I[lists_BN[rows, places]], pa.string()),
            "rank": pa.array(places + 1, pa.int32()),
        }
    )


def _export(folder: Path, known: Known, targets: pa.Table, lists: pa.Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    acts = known.counted
    tables = {
        "acts": pa.table(
            {"user_id": known.keys_K[acts.keys_E], "item_id": known.items_I[acts.items_E], "age_days": acts.ages_E}
        ),
        "items": pa.table({"item_id": known.items_I, "eligible": known.eligible_I}),
        "targets": targets,
        "lists": lists,
    }
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    log.info("%s: acts, items, targets and lists of %s users", folder, f"{len(set(targets['user_id'].to_pylist())):,}")


def _facts_of_users(known: Known, keys_B: Indices, groups: pa.Table) -> pa.Table:
    acts = known.all_acts
    newest_K = np.full(len(known.keys_K), np.inf)
    np.minimum.at(newest_K, acts.keys_E, acts.ages_E)
    counts_K = np.bincount(acts.keys_E, minlength=len(known.keys_K))
    facts = {"user_id": known.keys_K[keys_B], "num_acts": counts_K[keys_B], "days_since": newest_K[keys_B]}
    return pa.table(facts | {name: _of_most_acts(known, keys_B, groups[name]) for name in ("language", "category")})


def _of_most_acts(known: Known, keys_B: Indices, names_I: pa.ChunkedArray) -> pa.Array:
    """Return the group of items that each key acted on most, the first by name of equal ones; null where in none."""
    acts, coded = known.all_acts, names_I.combine_chunks().dictionary_encode()
    codes_I = coded.indices.fill_null(-1).to_numpy()
    names, codes_E = np.asarray(coded.dictionary.to_pylist(), dtype=object), codes_I[acts.items_E]
    order = np.argsort(names)
    grouped = codes_E >= 0
    pairs = (acts.keys_E[grouped], np.argsort(order)[codes_E[grouped]])
    shape = (len(known.keys_K), max(len(names), 1))
    counts_BG = sparse.coo_array((np.ones(int(grouped.sum())), pairs), shape=shape).tocsr()[keys_B].toarray()
    places_B = counts_BG.argmax(axis=1)
    some_B = counts_BG.max(axis=1) > 0
    return pa.array([names[order[n]] if some else None for n, some in zip(places_B, some_B, strict=True)], pa.string())


def _facts_of_items(known: Known, groups: pa.Table) -> pa.Table:
    oldest_I = np.full(len(known.items_I), -1.0)
    np.maximum.at(oldest_I, known.all_acts.items_E, known.all_acts.ages_E)
    facts = {"item_id": known.items_I, "num_users": known.counted.popularity(float("inf")), "age_days": oldest_I}
    return pa.table(facts | {name: groups[name] for name in ("language", "category")})


def dates_of(ds: date, days: int, cuts: int) -> list[date]:
    """Return the dates of so many cuts, `days` apart, the last one `ds`, oldest first."""
    return [ds - timedelta(days=days * back) for back in reversed(range(cuts))]
