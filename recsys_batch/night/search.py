"""What a night does for its queries: the words of the catalog are indexed, and every query is read by them.

Both belong to the stage `encode`, which encodes the queries as they are spelled. What customers did after a query is
evidence of the stage `retrieve`.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.night.context import Run
from recsys_batch.rules.metrics.propensity import fit_position_curve
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.datasets.labels import count_positions, propensity_at, session_results
from recsys_batch.spark.lake.prepared import replace_prepared
from recsys_batch.spark.retrieval.profiles import top_queries
from recsys_batch.spark.retrieval.queries import acts_after, searched_fields
from recsys_batch.workers.search.index import WriteSearchIndex
from recsys_batch.workers.search.scores import ACTS_AFTER
from recsys_batch.workers.search.understand import UnderstandQueries

_QUERIES_A_TASK = 5000
_QUERY_BLOCK = 512
# Deeper places of a list count as this one.
_DEEPEST = 50
_INDEX, _READ = ("search", "index"), ("search", "read")


def understand_queries(run: Run) -> DataFrame | None:
    """Index the catalog's words, and write how every query of the night is read; None where there are no queries."""
    queries = _night_queries(run)
    if queries is None:
        return None
    run.ticker.begin("indexing the words of the catalog")
    folder, settings = run.folder(*_INDEX), run.config.search
    # One task: the index is one, and its items stand in the order of the item index.
    fields = searched_fields(run.items()).repartition(1).sortWithinPartitions("item_id").drop("item_id")
    (written,) = map_batches(fields, WriteSearchIndex(folder, settings)).collect()
    run.ticker.begin("reading queries")
    queries = run.park(queries, "search", "queries")
    number = queries.count()
    tasks = min(max(number // _QUERIES_A_TASK, 1), run.parallelism)
    read = map_batches(queries.repartition(tasks, "query"), UnderstandQueries(folder, settings, _QUERY_BLOCK))
    read = run.leave(read, *_READ)
    # For people, beside the other prepared tables; the night itself goes by what its own stage left.
    replace_prepared(run.lake, Tables.QUERY_UNDERSTANDING, read, run.ds, run.maker_of("prepare"))
    counts = read.agg(
        F.count_if(F.size("corrections") > 0).alias("queries_corrected"),
        F.count_if(F.col("found_by") == "some_words").alias("queries_found_by_some_words"),
        F.count_if(F.col("found_by").isin("characters", "nothing")).alias("queries_not_found_by_words"),
    ).first()
    run.summary.count(
        "encode",
        queries=number,
        search_terms=written.terms,
        search_postings=written.postings,
        **(counts.asDict() if counts is not None else {}),
    )
    return read


def read_queries(run: Run) -> DataFrame:
    """Return how the queries of the night are read (`schemas.UNDERSTOOD`), as `encode` left it."""
    return run.left("encode", *_READ)


def has_queries(run: Run) -> bool:
    """Whether the night makes lists that may have a query."""
    return bool(run.config.lists.queries or (run.config.sources.requests and run.config.lists.requests))


def search_folder(run: Run) -> str:
    """Return where the index of the catalog's words lies; empty where no list of the night has a query."""
    return run.folder_of("encode", *_INDEX) if has_queries(run) else ""


def write_acts_after(run: Run, *place: str) -> None:
    """Leave beside the item index what customers acted on after each query."""
    if has_queries(run):
        # Without whose they were.
        results = session_results(run.read_prepared(Tables.INTERACTIONS)).drop("user_id", "session_id")
        results = run.park(results, *place, "session_results")
        weights = {str(kind): weight for kind, weight in run.config.prepare.event_weights.items()}
        # Lists of a query are the same for everyone: what one item got at several places tells how much places matter.
        counts = count_positions(results, "query_item", _DEEPEST)
        examined = propensity_at(F.col("position"), fit_position_curve(counts) if counts else None)
        half_life = run.config.search.acts_half_life_days
        run.leave(acts_after(results, run.ds, weights, half_life, examined), *place, ACTS_AFTER)


def _night_queries(run: Run) -> DataFrame | None:
    """Return the distinct queries (column query) that get a list tonight, or None."""
    wanted: list[DataFrame] = []
    if run.config.lists.queries:
        wanted.append(top_queries(run.read_prepared(Tables.INTERACTIONS), run.config.lists.queries))
    if run.config.sources.requests and run.config.lists.requests:
        wanted.append(run.read_prepared(Tables.REQUESTS).where("query IS NOT NULL").select("query"))
    if not wanted:
        return None
    united = wanted[0]
    for frame in wanted[1:]:
        united = united.union(frame)
    return united.distinct()
