"""Who gets a list: profiles of users, queries, items and requests, in the one shape that retrieval reads."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import EVENT_TYPE_CODES

_NO_ITEMS = "ARRAY<INT>"
_NO_FLOATS = "ARRAY<FLOAT>"
_NO_CODES = "ARRAY<TINYINT>"
_ASKED = {
    **dict.fromkeys(("query", "searched", "category"), "STRING"),
    **dict.fromkeys(("terms", "term_words"), "ARRAY<STRING>"),
    **{"term_weights": _NO_FLOATS, "term_needed": "ARRAY<BOOLEAN>", "known_share": "FLOAT"},
}
_ACTS = {"acts": _NO_ITEMS, "act_ages": _NO_FLOATS, "act_weights": _NO_FLOATS, "act_bought": "ARRAY<BOOLEAN>"}


def user_profiles(histories: DataFrame, allow_repeats: bool, acts: DataFrame | None = None) -> DataFrame:
    """Return the profiles of users; what they bought is masked where repeats are off.

    `acts` (`evidence.user_acts`) is what a ranker knows of them besides.
    """
    seen = F.array().cast(_NO_ITEMS) if allow_repeats else F.col("bought")
    if acts is not None:
        histories = histories.join(acts, "user_id", "left").withColumns(
            {name: F.coalesce(name, F.array().cast(kind)) for name, kind in _ACTS.items()}
        )
    return _profiles(histories, "user_id", seen)


def item_profiles(items: DataFrame) -> DataFrame:
    """Return the profiles of items, each the only history of its own; its near-duplicates are masked with it."""
    alone = F.array("canonical_index").cast(_NO_ITEMS)
    twins = items.groupBy("canonical_index").agg(F.array_sort(F.collect_set("item_index")).alias("twins"))
    one = items.join(twins, "canonical_index").select(
        "item_id",
        "twins",
        alone.alias("history"),
        F.array(F.lit(1.0)).cast(_NO_FLOATS).alias("history_weights"),
        F.array(F.lit(EVENT_TYPE_CODES["view"])).cast(_NO_CODES).alias("history_codes"),
    )
    return _profiles(one, "item_id", F.col("twins").cast(_NO_ITEMS))


def top_queries(interactions: DataFrame, number: int) -> DataFrame:
    """Return the `number` most frequent normalized queries (column `query`), ties in alphabetical order."""
    counts = interactions.where("event_type = 'search' AND query IS NOT NULL").groupBy("query").count()
    return counts.orderBy(F.desc("count"), "query").limit(number).select("query")


def query_profiles(queries: DataFrame, read: DataFrame) -> DataFrame:
    """Return the profiles of queries; `read` is what is understood of them (`schemas.UNDERSTOOD`), with their vector.

    A query without a vector, which the encoder refused, still has its words.
    """
    empty = _asking(queries, read).select(
        *_ASKED,
        F.array().cast(_NO_ITEMS).alias("history"),
        F.array().cast(_NO_FLOATS).alias("history_weights"),
        F.array().cast(_NO_CODES).alias("history_codes"),
        "vector",
    )
    return _profiles(empty, "query", F.array().cast(_NO_ITEMS), F.col("vector"))


def request_profiles(requests: DataFrame, items: DataFrame, read: DataFrame | None, allow_repeats: bool) -> DataFrame:
    """Return the profiles of requests: the known items of `item_ids`, newest first, each with weight 1, repeats kept.

    A request's query, where it has one, gives the profile vector, beside its items; `read` is what is understood of
    the queries (`schemas.UNDERSTOOD`), with their vector; without it nobody asks for anything.
    """
    exploded = requests.select("request_id", F.posexplode("item_ids").alias("position", "item_id"))
    known = exploded.join(items.select("item_id", F.col("canonical_index").alias("item_index")), "item_id")
    entries = F.sort_array(F.collect_list(F.struct("position", "item_index")), asc=False)
    histories = known.groupBy("request_id").agg(entries.alias("entries"))
    joined = _asking(requests, read).join(histories, "request_id", "left")
    history = F.coalesce("entries.item_index", F.array().cast(_NO_ITEMS))
    ready = joined.select(
        "request_id",
        *_ASKED,
        history.alias("history"),
        F.transform(history, lambda _: F.lit(1.0)).cast(_NO_FLOATS).alias("history_weights"),
        F.transform(history, lambda _: F.lit(EVENT_TYPE_CODES["view"])).cast(_NO_CODES).alias("history_codes"),
        "vector",
    )
    seen = F.array().cast(_NO_ITEMS) if allow_repeats else F.array_distinct("history")
    return _profiles(ready, "request_id", seen, F.col("vector"))


def with_masked(profiles: DataFrame, masked: DataFrame) -> DataFrame:
    """Return the profiles with the items of `masked` (key, item_index) added to what each has seen."""
    lists = masked.where("key IS NOT NULL").groupBy("key").agg(F.collect_set("item_index").alias("_masked"))
    seen = F.array_sort(F.array_union("seen", F.coalesce("_masked", F.array().cast(_NO_ITEMS))))
    return profiles.join(lists, "key", "left").withColumn("seen", seen).select(*profiles.columns)


def _asking(frame: DataFrame, read: DataFrame | None) -> DataFrame:
    """Return the rows with what is understood of their query; `searched` is null where nothing was corrected."""
    if read is None:
        nothing = {name: F.lit(None).cast(kind) for name, kind in {**_ASKED, "vector": _NO_FLOATS}.items()}
        return frame.withColumns(nothing)
    is_other = F.col("searched") != F.col("query")
    known = read.withColumn("searched", F.when(is_other, F.col("searched"))).select(*_ASKED, "vector")
    return frame.join(known, "query", "left")


def _profiles(frame: DataFrame, key: str, seen: Column, vector: Column | None = None) -> DataFrame:
    own = F.lit(None) if vector is None else vector
    return frame.select(
        F.col(key).alias("key"),
        F.col("history").cast(_NO_ITEMS).alias("history"),
        "history_weights",
        "history_codes",
        *(
            F.col(name) if name in frame.columns else F.lit(None).cast(kind).alias(name)
            for name, kind in {**_ACTS, **_ASKED}.items()
        ),
        seen.alias("seen"),
        own.cast(_NO_FLOATS).alias("vector"),
    )
