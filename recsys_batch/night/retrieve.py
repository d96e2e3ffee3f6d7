"""Stage `retrieve`: the item index is written once, then every profile gets its candidates."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Lists, Tables
from recsys_batch.contracts.config.ranker import Ranker
from recsys_batch.night.context import Run
from recsys_batch.night.encode import query_vectors
from recsys_batch.night.index import write_index
from recsys_batch.night.search import search_folder, write_acts_after
from recsys_batch.report.progress import watch
from recsys_batch.rules.reasons import ListKind
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.retrieval import profiles as histories
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
    ranker = run.config.ranker
    acts = write_index(run, run.read_prepared(Tables.INTERACTIONS), "index", ranker=ranker)
    write_acts_after(run, "index")
    for table in _list_tables(run):
        profiles = run.leave(_without_excluded(run, table, _profiles_of(run, table, acts)), "profiles", table)
        number = profiles.count()
        folder = run.folder("progress", f"retrieve-{table}")
        task = retrieve_task(run, index_folder(run), folder, ranker if model_file(run, table) else None)
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
        Tables.USER_RECOMMENDATIONS: lists.users and _has_users(run),
        Tables.QUERY_RECOMMENDATIONS: queries is not None and not queries.isEmpty(),
        Tables.SIMILAR_ITEMS: lists.similar_items,
        Tables.REQUEST_RECOMMENDATIONS: lists.requests and bool(run.config.sources.requests),
    }
    return [table for table, asked in wanted.items() if asked]


def _has_users(run: Run) -> bool:
    """Whether the log knows any users, or did when lists were published before: then their lists may not be missing."""
    # A shop that has just opened has none.
    return run.lake.exists(Tables.USER_RECOMMENDATIONS) or not run.read_prepared(Tables.USER_HISTORIES).isEmpty()


def retrieve_task(run: Run, index: str, progress: str, ranker: Ranker | None) -> RetrieveCandidates:
    """Return the task that makes candidates by an index: those of the blend, and those of a ranker's sources."""
    settings = run.config
    return RetrieveCandidates(
        *(index, settings.retrieve, settings.encoder.device, _threads(run), progress),
        ranked_candidates=ranker.candidates if ranker is not None else 0,
        own_sources=tuple(ranker.sources) if ranker is not None else (),
        search_folder=search_folder(run),
        searched_candidates=settings.search.candidates,
    )


def model_file(run: Run, table: str) -> str | None:
    """Return the file of the ranker's model for lists of this table; None where they are blended."""
    file = run.ranker / f"{LIST_KINDS[table]}.txt" if run.ranker is not None else None
    return str(file) if file is not None and file.is_file() else None


def _profiles_of(run: Run, table: str, acts: DataFrame | None) -> DataFrame:
    repeats = run.config.rerank.allow_repeats
    match LIST_KINDS[table]:
        case "user":
            return histories.user_profiles(run.read_prepared(Tables.USER_HISTORIES), repeats, acts)
        case "item":
            return histories.item_profiles(run.items())
        case "query":
            queries = histories.top_queries(run.read_prepared(Tables.INTERACTIONS), run.config.lists.queries)
            return histories.query_profiles(queries, query_vectors(run))
        case "request":
            return histories.request_profiles(
                run.read_prepared(Tables.REQUESTS), run.items(), query_vectors(run), repeats
            )


def _without_excluded(run: Run, table: str, profiles: DataFrame) -> DataFrame:
    """Mask what the shop excludes for a user or a request, as if it had been seen."""
    if not excludes(run, table):
        return profiles
    items = run.items().select("item_id", F.col("canonical_index").alias("item_index"))
    excluded = run.read_prepared(Tables.EXCLUSIONS).join(items, "item_id")
    return histories.with_masked(profiles, excluded.select(F.col(Lists.KEY[table]).alias("key"), "item_index"))


def excludes(run: Run, table: str) -> bool:
    """Whether the shop may exclude items for keys of the table."""
    return bool(run.config.sources.exclusions) and LIST_KINDS[table] in ("user", "request")


def index_folder(run: Run) -> str:
    """Return where the item index lies that the run works on."""
    return run.folder_of(RETRIEVE, "index")


def _threads(run: Run) -> int:
    """Torch threads of a scoring task: its share of the machine in local mode, what Spark grants it elsewhere."""
    return 0 if run.encode_threads == 0 else 1
