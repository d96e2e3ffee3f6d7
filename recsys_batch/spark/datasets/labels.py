"""Labels: what the logs say is right for a query, an item or a user, for models to learn from.

Transforms of prepared tables; which rows may train and which must test is decided in
`recsys_batch.spark.datasets.splits`. It makes no labels of entity spans: no source gives any.
"""

from functools import reduce
from typing import Literal

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.rules.metrics.propensity import PairCount, PositionCurve

_ACTS = {"click": "clicks", "cart": "carts", "purchase": "purchases"}
_SEARCH = ("user_id", "session_id", "query", "search_time")
_PATH_SEPARATOR = r"\s*>\s*"
# Sums of decimals do not depend on the order of partitions, as sums of doubles do.
_WEIGHTED = "DECIMAL(28,9)"


def session_results(interactions: DataFrame) -> DataFrame:
    """Return what each search of a session showed and what came of it, one row a search and item.

    An event belongs to the last search at or before it in its session (`query` and `search_time` null where there is
    none: a browsed list); an event that names another query than that belongs to the query it names. Undone purchases
    do not count. Columns: user_id, session_id, query, search_time, item_index, item_id, impressions, clicks, carts,
    purchases, position (of the first impression, else click, that has one), event_time (first act, else first
    impression), last_time (last act), item_valid_from (as of event_time).
    """
    is_search = F.col("event_type") == "search"
    relevant = interactions.where(
        F.col("event_type").isin("search", "impression", "click", "cart")
        | ((F.col("event_type") == "purchase") & ~F.col("undone"))
    )
    # A search comes before what happens at the same instant; of two searches at one instant the later in the alphabet.
    order = Window.partitionBy("user_id", "session_id").orderBy("event_time", ~is_search, "query")
    so_far = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    latest = F.last(F.when(is_search, F.struct("event_time", "query")), ignorenulls=True).over(so_far)
    placed = relevant.withColumn("latest", latest).where(~is_search & F.col("item_index").isNotNull())
    follows = F.col("query").isNull() | F.col("query").eqNullSafe(F.col("latest.query"))
    attributed = placed.withColumn("search_time", F.when(follows, F.col("latest.event_time"))).withColumn(
        "query", F.coalesce("query", "latest.query")
    )
    return _sum_up_results(attributed)


def _sum_up_results(attributed: DataFrame) -> DataFrame:
    is_act = F.col("event_type").isin(*_ACTS)
    moment = F.struct("event_time", "item_valid_from")
    listed = F.col("event_type").isin("impression", "click") & F.col("position").isNotNull()
    grouped = attributed.groupBy(*_SEARCH, "item_index", "item_id").agg(
        F.count_if(F.col("event_type") == "impression").alias("impressions"),
        *(F.count_if(F.col("event_type") == event_type).alias(name) for event_type, name in _ACTS.items()),
        F.min(F.when(listed, F.struct(F.col("event_type") != "impression", "event_time", "position"))).alias("place"),
        F.coalesce(F.min(F.when(is_act, moment)), F.min(moment)).alias("moment"),
        F.max(F.when(is_act, F.col("event_time"))).alias("last_act"),
    )
    return grouped.select(
        "user_id",
        "session_id",
        "query",
        # A query that only the events themselves name has no search event: its time is unknown, and no later than this.
        F.when(F.col("query").isNotNull(), F.coalesce("search_time", "moment.event_time")).alias("search_time"),
        "item_index",
        "item_id",
        "impressions",
        *_ACTS.values(),
        F.col("place.position").alias("position"),
        F.col("moment.event_time").alias("event_time"),
        F.coalesce("last_act", "moment.event_time").alias("last_time"),
        F.col("moment.item_valid_from").alias("item_valid_from"),
    )


def found_by_searching(interactions: DataFrame) -> DataFrame:
    """Return (key, item_id): for each query the items that somebody clicked, carted or bought after it."""
    results = session_results(interactions).where("query IS NOT NULL AND clicks + carts + purchases > 0")
    return results.select(F.col("query").alias("key"), "item_id").distinct()


def count_positions(
    results: DataFrame, group_by: Literal["user_item", "query_item"], max_position: int
) -> list[PairCount]:
    """Count what `rules.metrics.propensity.fit_position_curve` needs; collects at most `max_position` squared rows.

    A group is what is taken to be of one relevance: an item for a user, or for a query. Where the ranking is personal
    only the former is, because there a good position tells that this very user likes the item.
    """
    group = ["user_id", "item_index"] if group_by == "user_item" else ["query", "item_index"]
    shown = results.where((F.col("impressions") > 0) & F.col("position").isNotNull() & F.col(group[0]).isNotNull())
    cells = shown.groupBy(*group, F.least("position", F.lit(max_position)).alias("position")).agg(
        F.count("*").alias("n"), F.count_if(F.col("clicks") > 0).alias("c")
    )
    # At most max_position cells a group.
    lists = cells.groupBy(*group).agg(F.collect_list(F.struct("position", "n", "c")).alias("cells"))
    pairs = lists.select("cells", F.explode("cells").alias("here")).select("here", F.explode("cells").alias("there"))
    weight = F.when(F.col("here.position") == F.col("there.position"), 1.0).otherwise(
        F.col("there.n") / (F.col("here.n") + F.col("there.n"))
    )
    sums = pairs.groupBy(F.col("here.position").alias("position"), F.col("there.position").alias("other")).agg(
        F.sum((F.col("here.n") * weight).cast(_WEIGHTED)).alias("impressions"),
        F.sum((F.col("here.c") * weight).cast(_WEIGHTED)).alias("clicks"),
    )
    counts = (PairCount(r.position, r.other, float(r.impressions), float(r.clicks)) for r in sums.collect())
    return sorted(counts)


def query_item_pairs(results: DataFrame, curve: PositionCurve | None, max_weight: float) -> DataFrame:
    """Return the pairs of a query and one of its results, `label` 1 where it was clicked, carted or bought, else 0.

    `results` comes from `session_results`. Where the search's impressions are logged, an item that is not among them is
    no result; elsewhere everything acted on before the next search is. `propensity` is the examination of the position;
    `label_weight` its inverse up to `max_weight` for label 1, and 1 for label 0 or without a position or curve.
    """
    whole_search = Window.partitionBy(*_SEARCH)
    logged = F.max("impressions").over(whole_search) > 0
    pairs = results.where(F.col("query").isNotNull()).withColumn("_logged", logged)
    propensity = propensity_at(F.col("position"), curve)
    label = ((F.col("clicks") + F.col("carts") + F.col("purchases")) > 0).cast("int")
    corrected = F.least(F.lit(1.0) / F.col("propensity"), F.lit(max_weight))
    return (
        pairs.where(~F.col("_logged") | (F.col("impressions") > 0))
        .withColumn("label", label)
        .withColumn("propensity", propensity)
        .withColumn(
            "label_weight", F.when((F.col("label") == 1) & F.col("propensity").isNotNull(), corrected).otherwise(1.0)
        )
        .select(
            *("query", "item_index", "item_id", "user_id", "session_id", "search_time", "event_time", "last_time"),
            *("impressions", *_ACTS.values(), "position", "label", "propensity", "label_weight", "item_valid_from"),
        )
    )


def propensity_at(position: Column, curve: PositionCurve | None) -> Column:
    """Look positions up in the curve as `PositionCurve.examination_at` does; null without a curve or a position."""
    if curve is None or not curve.positions:
        return F.lit(None).cast("double")
    steps = zip(curve.positions[1:], curve.examination[1:], strict=True)
    first = F.when(position.isNotNull(), F.lit(curve.examination[0]))
    return reduce(lambda chosen, step: F.when(position >= step[0], F.lit(step[1])).otherwise(chosen), steps, first)


def rating_labels(interactions: DataFrame, reviews: DataFrame | None) -> DataFrame:
    """Return user_id, item_id, rating, text, event_time: what users gave, from rating events and from reviews.

    Of several by one user on one item the newest counts, at the same time the one with a text, then the higher; reviews
    without a user are all kept.
    """
    columns = ("user_id", "item_id", "rating", "text", "event_time")
    given = interactions.where("event_type = 'rating' AND rating IS NOT NULL AND item_id IS NOT NULL")
    rated = given.select("user_id", "item_id", "rating", F.lit(None).cast("string").alias("text"), "event_time")
    if reviews is not None:
        written = reviews.where("rating IS NOT NULL").withColumnRenamed("review_time", "event_time")
        rated = rated.unionByName(written.select(*columns))
    newest = F.max(F.struct("event_time", F.col("text").isNotNull().alias("has_text"), "rating", "text"))
    known = rated.where("user_id IS NOT NULL").groupBy("user_id", "item_id").agg(newest.alias("r"))
    anonymous = rated.where("user_id IS NULL").select(*columns)
    return known.select("user_id", "item_id", "r.rating", "r.text", "r.event_time").unionByName(anonymous)


def category_labels(texts: DataFrame, levels: int) -> DataFrame:
    """Return item_id, text, valid_from, `categories` (its category path's first `levels` levels, each as a path).

    `texts` comes from `training_texts`. `A > B > C` at two levels is [`A`, `A > B`]. Items without a category have no
    label.
    """
    path = F.filter(F.split(F.trim("category"), _PATH_SEPARATOR), lambda level: level != "")
    top = F.slice(path, 1, levels)
    prefixes = F.transform(top, lambda _, i: F.array_join(F.slice(top, 1, i + 1), " > "))
    labelled = texts.where("category IS NOT NULL").withColumn("categories", prefixes)
    return labelled.where("size(categories) > 0").select("item_id", "text", "valid_from", "categories")
