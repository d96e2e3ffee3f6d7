"""Gates: the invariants of the published tables, measured on the staged rows as read back from the lake."""

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import SHARED_SOURCES, Lists
from recsys_batch.contracts.gates import Check, at_least, at_most

# Those whose share of the rows is held against `gates.max_top_share`.
TOP_ITEMS = 20


@dataclass(frozen=True)
class Expectation:
    """What one staged list table is held against."""

    table: str
    top_n: int
    min_full_share: float
    keys: DataFrame
    """Columns `key` and `room`, the number of items that may be recommended to the key, no more than `top_n`."""
    forbidden: DataFrame | None
    """Columns `key`, `item`: pairs that must not be recommended (already bought, or excluded by the shop); None where
    there can be none."""
    forbidden_name: str = "items_already_bought"
    """What the check of them is called."""
    min_coverage: float = 1.0
    max_fallback_share: float = 1.0


def check_lists(staged: DataFrame, items: DataFrame, expected: Expectation) -> list[Check]:
    """Measure every invariant of one staged table; `items` is the catalog with item_id and eligible."""
    table = expected.table
    key, item = F.col(Lists.KEY[table]).alias("key"), F.col(Lists.ITEM[table]).alias("item")
    rows = staged.select(key, item, "rank", "score", "sources", "reason")
    lists = _measure_lists(rows, items, expected)
    num_lists = int(lists["lists"])
    checks = [
        at_least(table, "lists", num_lists, 1),
        at_least(table, "full_list_share", lists["full"] / max(num_lists, 1), expected.min_full_share),
        at_least(table, "key_coverage", lists["covered"] / max(lists["keys"], 1), expected.min_coverage),
        # A user who has bought everything is no fault of the night.
        at_most(table, "keys_without_candidates", lists["without_room"], max(lists["keys"], lists["without_room"])),
        at_most(table, "lists_with_gaps_in_rank", lists["gaps"], 0),
        at_most(table, "lists_longer_than_n", lists["longer"], 0),
        at_most(table, "lists_with_duplicate_items", lists["duplicated"], 0),
        at_most(table, "scores_not_finite", lists["not_finite"], 0),
        at_most(table, "scores_rising_with_rank", lists["rising"], 0),
        at_most(table, "items_not_eligible", lists["not_eligible"], 0),
        at_most(table, "rows_without_reason", lists["unexplained"], 0),
        at_most(
            table, "popularity_only_share", lists["fallback"] / max(num_lists, 1), expected.max_fallback_share, "warn"
        ),
    ]
    if expected.forbidden is not None:
        checks.append(at_most(table, expected.forbidden_name, lists["forbidden"], 0))
    return checks


def check_concentration(
    staged: DataFrame, table: str, num_eligible: int, max_top_share: float, min_shown_share: float
) -> list[Check]:
    """Warn where a few items fill the lists, or few of those that may be recommended are in any list.

    The `TOP_ITEMS` most shown ones may take `max_top_share` of the rows, or twice what is theirs of a small catalog.
    """
    shown = staged.groupBy(Lists.ITEM[table]).count()
    top = F.slice(F.sort_array(F.collect_list("count"), asc=False), 1, TOP_ITEMS)
    found = shown.agg(F.count("*").alias("items"), F.sum("count").alias("rows"), top.alias("top")).collect()[0]
    if not found["rows"]:
        return []
    fair_share = min(TOP_ITEMS / max(num_eligible, 1), 0.5)
    return [
        at_most(table, "top_share", sum(found.top) / found["rows"], max(max_top_share, 2 * fair_share), "warn"),
        at_least(
            *(table, "shown_share", found["items"] / max(min(num_eligible, found["rows"]), 1), min_shown_share, "warn")
        ),
    ]


def with_room(profiles: DataFrame, items: DataFrame, top_n: int, wanted: Column | None = None) -> DataFrame:
    """Return (key, room): how many eligible items the profile (key, seen) has left, no more than `top_n`.

    `wanted` is the length of the key's list where not all are as long; none is longer than `top_n`.
    """
    eligible = items.where("eligible").select("item_index")
    number = eligible.count()
    # Few have seen so much that it matters.
    tight = profiles.where(F.size("seen") > number - top_n).select("key", F.explode_outer("seen").alias("item_index"))
    taken = tight.distinct().join(eligible, "item_index", "left_semi").groupBy("key").agg(F.count("*").alias("taken"))
    left = F.lit(number) - F.coalesce("taken", F.lit(0))
    length = F.lit(top_n) if wanted is None else wanted
    return profiles.select("key").join(taken, "key", "left").select("key", F.least(length, left).alias("room"))


def _measure_lists(rows: DataFrame, items: DataFrame, expected: Expectation) -> dict[str, float]:
    """Measure everything in one pass over the rows, grouped by list, beside the keys that must have one."""
    top_n = expected.top_n
    eligible = items.where("eligible").select(F.col("item_id").alias("item"), F.lit(True).alias("eligible"))
    previous = F.lag("score").over(Window.partitionBy("key").orderBy("rank"))
    finite = F.col("score").isNotNull() & ~F.isnan("score") & (F.abs("score") != float("inf"))
    marked = rows.join(eligible, "item", "left").withColumn(
        "rising", F.coalesce(F.col("score") > previous, F.lit(False))
    )
    if expected.forbidden is None:
        marked = marked.withColumn("forbidden", F.lit(False))
    else:
        pairs = expected.forbidden.select("key", "item").distinct().withColumn("forbidden", F.lit(True))
        marked = marked.join(pairs, ["key", "item"], "left")
    shared = F.array(*map(F.lit, SHARED_SOURCES))
    per_list = marked.groupBy("key").agg(
        F.count("*").alias("n"),
        F.max("rank").alias("last"),
        F.min("rank").alias("first"),
        F.countDistinct("rank").alias("ranks"),
        F.countDistinct("item").alias("items"),
        F.sum((~finite).cast("int")).alias("not_finite"),
        F.sum(F.col("rising").cast("int")).alias("rising"),
        F.sum(F.col("eligible").isNull().cast("int")).alias("not_eligible"),
        F.sum((F.coalesce(F.length("reason.text"), F.lit(0)) == 0).cast("int")).alias("unexplained"),
        F.max((F.size(F.array_except("sources", shared)) > 0).cast("int")).alias("personal"),
        F.count_if("forbidden").alias("forbidden"),
    )
    asked = expected.keys.select("key", "room", F.when(F.col("room") > 0, 1).alias("asked"))
    dense = (F.col("first") == 1) & (F.col("last") == F.col("n")) & (F.col("ranks") == F.col("n"))
    totals = per_list.join(asked, "key", "full").agg(
        F.count("n").alias("lists"),
        F.count("asked").alias("keys"),
        F.count_if(F.col("n").isNotNull() & F.col("asked").isNotNull()).alias("covered"),
        F.count_if(F.col("room") == 0).alias("without_room"),
        F.sum((F.col("n") == F.coalesce("room", F.lit(top_n))).cast("int")).alias("full"),
        F.sum((F.col("n") > top_n).cast("int")).alias("longer"),
        F.sum((~dense).cast("int")).alias("gaps"),
        F.sum((F.col("items") < F.col("n")).cast("int")).alias("duplicated"),
        *(F.sum(c).alias(c) for c in ("not_finite", "rising", "not_eligible", "unexplained", "forbidden")),
        F.sum(1 - F.col("personal")).alias("fallback"),
    )
    return {name: float(value or 0) for name, value in totals.first().asDict().items()}  # type: ignore[union-attr]
