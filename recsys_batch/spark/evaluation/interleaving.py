"""Two sets of lists in one, to be shown in a test: which of the two do shoppers click?

Every shopper compares both, so far fewer clicks tell them apart than in an A/B test (Chapelle et al., 2012). The method
is in `recsys_batch.rules.metrics.interleaving`.
"""

from collections.abc import Callable

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.rules.metrics.interleaving import TEAMS, Preference, judge_preference, team_draft
from recsys_batch.spark.evaluation.lists import check_columns, distinct_pairs, place_items

_DRAFT = pa.list_(pa.struct({"item_id": pa.string(), "team": pa.string()}))


def interleave_lists(
    lists_a: DataFrame, lists_b: DataFrame, *, length: int, key: str = "user_id", seed: int = 0
) -> DataFrame:
    """Return (key, rank, item_id, team) of up to `length` ranks a key: team-draft interleaved lists.

    Both frames have key, item_id and rank (`lists.place_items` says what counts). Coins are a hash of seed and key, so
    neither partitions nor a second run change a list; another seed is another test. `team` is A, B, or null where the
    other list has no item left to pick; a key that only one frame has gets that list, without teams. Raises ValueError
    where `length` is below 1.
    """
    if length < 1:
        raise ValueError(f"length must be 1 or more, not {length}")
    # What a ranking picks next has at most as many items before it as are drafted: the first `length` are enough.
    sides = [
        place_items(lists, key=key).where(F.col("place") <= length).withColumn("team", F.lit(team))
        for lists, team in zip((lists_a, lists_b), TEAMS, strict=True)
    ]
    entry = F.struct("place", "item_id")
    rankings = [F.array_sort(F.collect_list(F.when(F.col("team") == team, entry))).alias(team) for team in TEAMS]
    both = sides[0].unionByName(sides[1]).groupBy(key).agg(*rankings)
    coin = F.concat(F.lit(f"{seed}:"), F.col(key).cast("string"))
    drafted = both.select(key, F.posexplode(_draft(length)(F.col("A.item_id"), F.col("B.item_id"), coin)))
    return drafted.select(key, (F.col("pos") + 1).alias("rank"), "col.item_id", "col.team")


def score_interleaving(interleaved: DataFrame, clicks: DataFrame, *, key: str = "user_id", seed: int = 0) -> Preference:
    """Return which team the keys prefer: the one with more clicked items, over keys with a click on either's.

    `interleaved` is what `interleave_lists` made and the shop showed; `clicks` has key and item_id (purchases, or
    anything else that counts, are as good). An item clicked twice counts once, and one that the key's list does not
    have not at all. `seed` is the bootstrap's. Raises ValueError where fewer than two keys have a click.
    """
    check_columns(interleaved, "interleaved", (key, "item_id", "team"))
    clicked = distinct_pairs(clicks, key).withColumn("is_clicked", F.lit(True))
    shown = interleaved.join(clicked, [key, "item_id"], "left").groupBy(key)
    a, b = (F.count_if(F.col("is_clicked") & (F.col("team") == team)) for team in TEAMS)
    by_key = shown.agg(a.alias("a"), b.alias("b"))
    found = by_key.agg(
        F.count_if(F.expr("a > b")).alias("wins_a"),
        F.count_if(F.expr("a < b")).alias("wins_b"),
        F.count_if(F.expr("a = b AND a > 0")).alias("ties"),
        F.count_if(F.expr("a = 0 AND b = 0")).alias("without_click"),
    ).collect()[0]
    return judge_preference(found.wins_a, found.wins_b, found.ties, found.without_click, seed=seed)


def _draft(length: int) -> Callable[[Column, Column, Column], Column]:
    def draft(items_a: pa.Array, items_b: pa.Array, coins: pa.Array) -> pa.Array:
        rows = zip(items_a.to_pylist(), items_b.to_pylist(), coins.to_pylist(), strict=True)
        names = ("item_id", "team")
        lists = [
            [dict(zip(names, pick, strict=True)) for pick in team_draft(a, b, length, coin)] for a, b, coin in rows
        ]
        return pa.array(lists, _DRAFT)

    return F.arrow_udf(draft, "array<struct<item_id: string, team: string>>")  # type: ignore[attr-defined, no-any-return]
