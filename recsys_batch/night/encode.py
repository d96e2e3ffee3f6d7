"""Stage `encode`: every text of the night that has no vector yet gets one."""

from collections.abc import Mapping
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.worker_task import WorkerTask
from recsys_batch.night.context import Run, log
from recsys_batch.night.search import read_queries, understand_queries
from recsys_batch.report.progress import count_model_loads, read_progress, watch
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.retrieval.embeddings import look_up_texts, refused_texts, store_vectors, with_vectors
from recsys_batch.workers.encode import EncodeTexts
from recsys_batch.workers.progress import summarize
from recsys_batch.workers.vector_storage import MAX_COSINE_LOSS, PackVectors

# A text may be a megabyte long; its key tells it apart.
_TEXT_KEPT = 1000
# Of the workers' figures, what the summary of a run shows.
_THROUGHPUT = ("tokens", "padded_share", "unknown_share", "texts_per_second", "tokens_per_second", "utilization")
# More of the tokens than this unknown: the model was made for another language.
_MOST_UNKNOWN = 0.1


def encode(run: Run) -> None:
    """Read the night's queries by the words of the catalog, and encode new texts of both into the embedding table."""
    with run.telling("encode"):
        queries = understand_queries(run)
    _encode_new(run, "document", run.items().select("text"))
    if queries is not None:
        _encode_new(run, "query", queries.select(F.col("searched").alias("text")))


def item_vectors(run: Run) -> DataFrame:
    """Return the catalog with its vectors."""
    return with_vectors(run.lake, run.items(), _address(run, "document"))


def query_vectors(run: Run) -> DataFrame:
    """Return how the night's queries are read (`schemas.UNDERSTOOD`), with the vector of what they search for."""
    texts = read_queries(run).withColumn("text", F.col("searched"))
    return with_vectors(run.lake, texts, _address(run, "query")).drop("text")


def _encode_new(run: Run, kind: str, texts: DataFrame) -> None:
    address, folder = _address(run, kind), run.folder("progress", f"encode-{kind}")
    # Looked up once, all that is counted below in one job: of a night with few new texts, jobs are the cost.
    found = run.park(look_up_texts(run.lake, texts, address), "looked-up", kind)
    counted = found.agg(F.count("*"), F.count_if("is_missing"), F.count_if("is_refused")).first()
    distinct, num_missing, num_refused = counted if counted is not None else (0, 0, 0)
    if num_missing:
        missing = found.where("is_missing").select("text_key", "text")
        # Shuffled by a hash of the key, so that which worker gets a text depends on nothing but the text.
        number = run.encode_partitions
        parts = missing.repartition(number, "text_key") if number > 1 else missing.coalesce(1)
        with watch(folder, f"encode {kind}s", num_missing):
            encode_all = partial(map_batches, task=_task(run, kind, folder), profile=run.encode_profile)
            store_vectors(run.lake, parts, encode_all, address, f"{run.run_id}-{kind}")
    states = read_progress(folder)
    if num_missing and (num_refused or summarize(states)["without_vector"]):
        num_refused = _quarantine_texts(run, kind, refused_texts(run.lake, texts, address))
    _warn_of_unknown(run, kind, summarize(states).get("unknown_share", 0.0))
    run.summary.count(
        "encode",
        **{
            f"{kind}_texts": distinct,
            f"{kind}_cache_hits": distinct - num_missing,
            f"{kind}_encoded": num_missing,
            f"{kind}_refused": num_refused,
            f"{kind}_model_loads": count_model_loads(states),
            **{f"{kind}_{name}": value for name, value in summarize(states).items() if name in _THROUGHPUT},
            **{f"{kind}_{name}": value for name, value in _storage_loss(run, kind).items()},
        },
    )


def _warn_of_unknown(run: Run, kind: str, share: float) -> None:
    if share > _MOST_UNKNOWN:
        log.warning(
            "encoder.model %s has no token for %.0f%% of tonight's new %s texts: it cannot read their language. Words "
            "find items all the same, and cosines count less where they say nothing; a multilingual model reads both "
            "(docs/search.md)",
            run.config.encoder.model,
            100 * share,
            kind,
        )


def _task(run: Run, kind: str, folder: str) -> WorkerTask:
    settings = run.config.encoder
    encode_texts = EncodeTexts(
        run.encoder,
        kind,
        settings.device,
        run.encode_threads,
        folder,
        settings.cache_folder,
        settings.cache_megabytes * 2**20,
    )
    return PackVectors(encode_texts, _packing_folder(run, kind)) if settings.storage == "float16" else encode_texts


def _storage_loss(run: Run, kind: str) -> Mapping[str, float]:
    """Return what packing tonight's vectors cost, the worst of all; nothing where none was packed."""
    losses = [float(state[MAX_COSINE_LOSS]) for state in read_progress(_packing_folder(run, kind)) if state["rows"]]
    return {MAX_COSINE_LOSS: max(losses)} if losses else {}


def _packing_folder(run: Run, kind: str) -> str:
    return run.folder("progress", f"pack-{kind}")


def _quarantine_texts(run: Run, kind: str, refused: DataFrame) -> int:
    """Keep the texts of the date that could not be encoded, with the reason, and return their number."""
    number = refused.count()
    if number:
        rows = refused.select("text_key", F.substring("text", 1, _TEXT_KEPT).alias("text"), "reason")
        marked = rows.withColumns({"kind": F.lit(kind), "ds": F.lit(run.ds), "run_id": F.lit(run.run_id)})
        same = f"ds = DATE'{run.ds.isoformat()}' AND kind = '{kind}'"
        run.lake.replace_slice("texts_quarantine", marked, same, ("ds",))
        log.warning("%d %s text(s) cannot be encoded: see texts_quarantine", number, kind)
    return number


def _address(run: Run, kind: str) -> str:
    """Return what addresses the vectors of one kind of text: queries and documents may carry different prefixes."""
    return f"{run.encoder_fingerprint}-{kind}"
