"""Stage `rank`: candidates are scored, and the scored lists reranked, in one pass; the rows are staged."""

import logging
from functools import reduce
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Rerank, Retrieve
from recsys_batch.contracts.identity import encoder_version
from recsys_batch.contracts.worker_task import WorkerTask
from recsys_batch.night.context import Run
from recsys_batch.night.retrieve import LIST_KINDS, candidates_of, index_folder, model_file
from recsys_batch.night.search import search_folder
from recsys_batch.report.progress import read_progress, watch
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.publish.arms import arm_of, count_lists
from recsys_batch.spark.publish.release import count_staged, read_staged, stage_rows
from recsys_batch.spark.session import in_memory
from recsys_batch.training.registry.versions import name_of_folder
from recsys_batch.workers.chain import Chain
from recsys_batch.workers.rank import RankCandidates
from recsys_batch.workers.rank_learned import RankLearned
from recsys_batch.workers.rerank import RerankCandidates
from recsys_batch.workers.search.rank import RankQueries

log = logging.getLogger("recsys_batch.night")


def rank(run: Run) -> None:
    """Blend the scores of the candidate sources, apply the rules, explain every row and stage the list tables."""
    staged: dict[str, DataFrame] = {}
    boosts = _leave_boosts(run)
    for table, num_profiles in run.facts.num_profiles.items():
        folder = run.folder("progress", f"rerank-{table}")
        with watch(folder, f"rank {table}", num_profiles):
            rows = _ranked(run, table, folder, boosts)
            if run.is_small:
                rows = in_memory(rows)
            stage_rows(run.lake, table, rows, run.ds, run.run_id, model_version(run, table))
        _count_effects(run, table, folder)
        staged[table] = rows if run.is_small else read_staged(run.lake, table, run.run_id)
    run.facts.num_rows = count_staged(staged)
    run.summary.count("rerank", **{f"{table}_rows": number for table, number in run.facts.num_rows.items()})
    _count_arms(run)


def _leave_boosts(run: Run) -> str:
    """Leave the boost of each item that has one, and return the folder; empty where the config gives none."""
    boosts = run.config.rerank.boosts
    if not boosts:
        return ""
    matches = [F.coalesce(F.expr(boost.where), F.lit(False)) for boost in boosts]
    total = sum(
        (F.when(match, boost.by).otherwise(0.0) for match, boost in zip(matches, boosts, strict=True)), F.lit(0.0)
    )
    items = run.items().where("eligible")
    found = items.agg(*(F.count_if(match).alias(str(place)) for place, match in enumerate(matches))).collect()[0]
    for place, (boost, number) in enumerate(zip(boosts, found, strict=True)):
        run.summary.count("rerank", **{f"boosts_{place}_items": number})
        if not number:
            log.warning("rerank.boosts.%d: no item that may be recommended matches %r", place, boost.where)
    run.leave(items.select("item_index", total.alias("boost")).where("boost <> 0"), "boosts")
    return run.folder("boosts")


def _count_effects(run: Run, table: str, progress: str) -> None:
    """Count the rows that each rule changed; a cap that is not set changes none, and is counted all the same."""
    rules, states = run.config.rerank, read_progress(progress)
    effects = {"over_cap": "rows_over_category_cap"}
    effects |= {"boosted": "rows_boosted"} if rules.boosts else {}
    effects |= {"varied": "rows_there_for_diversity"} if rules.diversity else {}
    for counter, name in effects.items():
        run.summary.count("rerank", **{f"{table}_{name}": sum(float(each.get(counter, 0)) for each in states)})


def _ranked(run: Run, table: str, progress: str, boosts: str) -> DataFrame:
    """Return the rows of a list table (`schemas.RANKED`); those of user lists have their `arm` where there are any."""
    candidates, retrieve, rerank = candidates_of(run, table), blend_settings(run, table), run.config.rerank
    experiment = run.config.experiment if table == Tables.USER_RECOMMENDATIONS else None

    index, ranking, model = index_folder(run), run.folder("progress", f"rank-{table}"), model_file(run, table)
    own_sources = tuple(run.config.ranker.sources) if model and run.config.ranker is not None else ()

    def choose(candidates: DataFrame, retrieve: Retrieve, rerank: Rerank) -> DataFrame:
        score: WorkerTask = (
            RankLearned(index, model, retrieve.profile_block, ranking, own_sources)
            if model
            else RankCandidates(retrieve, ranking)
        )
        sharpness, search = retrieve.content.sharpness, search_folder(run)
        if search:
            score = RankQueries(run.config.search.weights, score)
        rules = RerankCandidates(index, LIST_KINDS[table], rerank, sharpness, progress, own_sources, boosts, search)
        return map_batches(candidates, Chain(score, rules))

    if experiment is None:
        return choose(candidates, retrieve, rerank)
    # Still one job: each arm's tasks take its users out of the same files.
    arms = (
        choose(
            candidates.where(arm_of(F.col("key"), experiment) == arm.name),
            arm.applied_to(retrieve, "retrieve"),
            arm.applied_to(rerank, "rerank"),
        ).withColumn("arm", F.lit(arm.name))
        for arm in experiment.arms
    )
    return reduce(DataFrame.unionByName, arms)


def _count_arms(run: Run) -> None:
    table, experiment = Tables.USER_RECOMMENDATIONS, run.config.experiment
    if experiment is not None and table in run.facts.num_rows:
        run.facts.arm_lists = count_lists(read_staged(run.lake, table, run.run_id), experiment)
        counts = {f"{table}_lists_of_arm_{arm}": number for arm, number in run.facts.arm_lists.items()}
        run.summary.count("rerank", **counts)


def blend_settings(run: Run, table: str) -> Retrieve:
    """Return the retrieval settings with the weights that hold for `table`."""
    settings = run.config.retrieve
    if table != Tables.SIMILAR_ITEMS:
        return settings
    content = settings.content.model_copy(update={"weight": settings.content.weight_in_similar_items})
    return settings.model_copy(update={"content": content})


def model_version(run: Run, table: str) -> str:
    """Return what published rows carry as `model_version`: the ranker, where one scored them, and the encoder.

    Of the encoder it is a part of the fingerprint, by which maintenance knows which vectors a night used; after
    `NAME@VERSION` where the model is registered.
    """
    encoder = encoder_name(run)
    return f"{name_of_folder(run.ranker)}, {encoder}" if run.ranker is not None and model_file(run, table) else encoder


def encoder_name(run: Run) -> str:
    """Return the encoder that the night's vectors are of."""
    name, version = name_of_folder(Path(run.encoder.model)), encoder_version(run.encoder_fingerprint)
    return f"{name} ({version})" if name else version
