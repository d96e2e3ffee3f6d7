"""Stage `rank`: candidates are scored, and the scored lists reranked, in one pass; the rows are staged."""

from pathlib import Path

from pyspark.sql import DataFrame

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Retrieve
from recsys_batch.contracts.identity import encoder_version
from recsys_batch.night.context import Run
from recsys_batch.night.retrieve import LIST_KINDS, candidates_of, index_folder
from recsys_batch.report.progress import read_progress, watch
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.publish.release import count_staged, read_staged, stage_rows
from recsys_batch.spark.session import in_memory
from recsys_batch.training.registry.versions import name_of_folder
from recsys_batch.workers.chain import Chain
from recsys_batch.workers.rank import RankCandidates
from recsys_batch.workers.rerank import RerankCandidates


def rank(run: Run) -> None:
    """Blend the scores of the candidate sources, apply the rules, explain every row and stage the list tables."""
    staged: dict[str, DataFrame] = {}
    for table, num_profiles in run.facts.num_profiles.items():
        folder = run.folder("progress", f"rerank-{table}")
        score = RankCandidates(blend_settings(run, table), run.folder("progress", f"rank-{table}"))
        choose = RerankCandidates(
            index_folder(run), LIST_KINDS[table], run.config.rerank, run.config.retrieve.content.sharpness, folder
        )
        with watch(folder, f"rank {table}", num_profiles):
            rows = map_batches(candidates_of(run, table), Chain(score, choose))
            if run.is_small:
                rows = in_memory(rows)
            stage_rows(run.lake, table, rows, run.ds, run.run_id, model_version(run))
        over_cap = sum(float(state.get("over_cap", 0)) for state in read_progress(folder))
        run.summary.count("rerank", **{f"{table}_rows_over_category_cap": over_cap})
        staged[table] = rows if run.is_small else read_staged(run.lake, table, run.run_id)
    run.facts.num_rows = count_staged(staged)
    run.summary.count("rerank", **{f"{table}_rows": number for table, number in run.facts.num_rows.items()})


def blend_settings(run: Run, table: str) -> Retrieve:
    """Return the retrieval settings with the weights that hold for `table`."""
    settings = run.config.retrieve
    if table != Tables.SIMILAR_ITEMS:
        return settings
    content = settings.content.model_copy(update={"weight": settings.content.weight_in_similar_items})
    return settings.model_copy(update={"content": content})


def model_version(run: Run) -> str:
    """Return what published rows carry as `model_version`: the encoder that the scores rest on.

    Part of the encoder's fingerprint, by which maintenance knows which vectors a night used; after `NAME@VERSION` where
    the model is registered.
    """
    name, version = name_of_folder(Path(run.encoder.model)), encoder_version(run.encoder_fingerprint)
    return f"{name} ({version})" if name else version
