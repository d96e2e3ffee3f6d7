"""Stage `retrieve`: the item index is written once, then every profile gets its candidates."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.night.context import Run
from recsys_batch.night.encode import item_vectors, query_vectors
from recsys_batch.report.progress import watch
from recsys_batch.rules.reasons import ListKind
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.retrieval import profiles as histories
from recsys_batch.spark.retrieval.covisitation import covisitation_neighbors, daily_interactions, popularity
from recsys_batch.workers.covisitation import CountPairs
from recsys_batch.workers.retrieve import RetrieveCandidates

RETRIEVE = "retrieve"
LIST_KINDS: dict[str, ListKind] = {
    Tables.USER_RECOMMENDATIONS: "user",
    Tables.QUERY_RECOMMENDATIONS: "query",
    Tables.SIMILAR_ITEMS: "item",
    Tables.REQUEST_RECOMMENDATIONS: "request",
}


def retrieve(run: Run) -> None:
    """Write the item index and the candidates of every list table of the night."""
    _write_index(run)
    for table in _list_tables(run):
        profiles = run.leave(_profiles_of(run, table), "profiles", table)
        number = profiles.count()
        folder = run.folder("progress", f"retrieve-{table}")
        task = RetrieveCandidates(
            index_folder(run), run.config.retrieve, run.config.encoder.device, _threads(run), folder
        )
        partitions = min(run.parallelism * 4, max(number // run.config.retrieve.profile_block, run.parallelism))
        with watch(folder, f"retrieve {table}", number):
            run.leave(map_batches(profiles.repartition(partitions), task), "candidates", table)
        run.facts.num_profiles[table] = number
        run.summary.count("retrieve", **{f"{table}_profiles": number})


def profiles_of(run: Run, table: str) -> DataFrame:
    """Return the profiles (`schemas.PROFILES`) of everyone who gets a list in `table`, as `retrieve` left them."""
    return run.left(RETRIEVE, "profiles", table)


def candidates_of(run: Run, table: str) -> DataFrame:
    """Return the candidates (`schemas.CANDIDATES`) of the same profiles."""
    return run.left(RETRIEVE, "candidates", table)


def _list_tables(run: Run) -> list[str]:
    """Return the list tables that the config asks for, and that the log has anything for."""
    lists = run.config.lists
    queries = histories.top_queries(run.read_prepared(Tables.INTERACTIONS), lists.queries) if lists.queries else None
    wanted = {
        Tables.USER_RECOMMENDATIONS: lists.users,
        Tables.QUERY_RECOMMENDATIONS: queries is not None and not queries.isEmpty(),
        Tables.SIMILAR_ITEMS: lists.similar_items,
        Tables.REQUEST_RECOMMENDATIONS: lists.requests and bool(run.config.sources.requests),
    }
    return [table for table, asked in wanted.items() if asked]


def _profiles_of(run: Run, table: str) -> DataFrame:
    repeats = run.config.rerank.allow_repeats
    match LIST_KINDS[table]:
        case "user":
            return histories.user_profiles(run.read_prepared(Tables.USER_HISTORIES), repeats)
        case "item":
            return histories.item_profiles(run.items())
        case "query":
            queries = histories.top_queries(run.read_prepared(Tables.INTERACTIONS), run.config.lists.queries)
            return histories.query_profiles(queries, query_vectors(run))
        case "request":
            return histories.request_profiles(
                run.read_prepared(Tables.REQUESTS), run.items(), query_vectors(run), repeats
            )


def index_folder(run: Run) -> str:
    """Return where the item index lies that the run works on."""
    return run.folder_of(RETRIEVE, "index")


def _write_index(run: Run) -> None:
    daily = daily_interactions(run.read_prepared(Tables.INTERACTIONS)).persist()
    settings = run.config.retrieve
    popular = popularity(daily, settings.popularity.half_life_days)
    columns = ("item_index", "item_id", "title", "category_key", "eligible", "vector")
    items = (
        item_vectors(run)
        .join(popular, "item_index", "left")
        .select(*columns, F.coalesce("popularity", F.lit(0.0)).alias("popularity"))
    )
    run.leave(items.repartitionByRange(max(run.parallelism, 1), "item_id"), "index", "items")
    pairs = covisitation_neighbors(
        daily, lambda frame: map_batches(frame, CountPairs(settings.covisitation)), settings.covisitation
    )
    num_pairs = run.leave(pairs, "index", "covisitation").count()
    daily.unpersist()
    run.summary.count("retrieve", covisitation_pairs=num_pairs)


def _threads(run: Run) -> int:
    """Torch threads of a scoring task: its share of the machine in local mode, what Spark grants it elsewhere."""
    return 0 if run.encode_threads == 0 else 1
