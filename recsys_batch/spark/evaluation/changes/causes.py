"""Why items left lists: bookkeeping by what is known of both sides, not an experiment.

Each item that left is counted under the first cause that holds (`contracts.list_changes.CAUSES`). What was not taken
out made room for something: as many of a key's items as there are newcomers that could not be recommended before were
displaced by these, the others by what changed the scores.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.list_changes import (
    BOUGHT,
    NEW_ITEMS,
    NOT_ELIGIBLE,
    OTHER_MODEL,
    OTHER_SCORES,
    OWN_HISTORY,
)
from recsys_batch.spark.evaluation.changes.pairs import ON_BOTH


def count_causes(
    pairs: DataFrame, keys: DataFrame, catalog: DataFrame, histories: DataFrame | None = None
) -> dict[str, int]:
    """Return how many items left lists of keys with a list on both sides, by cause; the counts add up to all of them.

    `pairs`, `keys` and `catalog` are those of `pairs`; `histories` (`pair_histories`) is given for user lists.
    """
    remodeled = ~F.col("model_before").eqNullSafe(F.col("model_now"))
    facts = keys.where(ON_BOTH).select("key", remodeled.alias("remodeled"))
    if histories is None:
        facts = facts.withColumns({"masked": F.array().cast("array<int>"), "relearned": F.lit(False)})
    else:
        facts = facts.join(histories.select("key", "masked", "relearned"), "key", "left")
    moved = pairs.where("rank_before IS NULL OR rank_now IS NULL").join(catalog, "item_id", "left")
    rows = moved.join(facts, "key")
    gone, came = F.col("rank_now").isNull(), F.col("rank_before").isNull()
    barred = gone & ~_holds("is_eligible")
    bought = gone & ~barred & F.coalesce(F.array_contains("masked", F.col("item_index")), F.lit(False))
    per_key = rows.groupBy("key").agg(
        F.count_if(barred).alias("barred"),
        F.count_if(bought).alias("bought"),
        F.count_if(gone & ~barred & ~bought).alias("displaced"),
        F.count_if(came & ~_holds("was_eligible")).alias("newcomers"),
        F.bool_or("remodeled").alias("remodeled"),
        F.bool_or(_holds("relearned")).alias("relearned"),
    )
    by_newcomers = F.least("displaced", "newcomers")
    outscored = F.col("displaced") - by_newcomers
    remodeled, relearned = F.col("remodeled"), F.col("relearned")
    parts = {
        NOT_ELIGIBLE: F.col("barred"),
        BOUGHT: F.col("bought"),
        NEW_ITEMS: by_newcomers,
        OTHER_MODEL: F.when(remodeled, outscored),
        OWN_HISTORY: F.when(~remodeled & relearned, outscored),
        OTHER_SCORES: F.when(~remodeled & ~relearned, outscored),
    }
    (row,) = per_key.agg(*(F.coalesce(F.sum(part), F.lit(0)).alias(cause) for cause, part in parts.items())).collect()
    return {cause: int(row[cause]) for cause in parts}


def pair_histories(before: DataFrame, now: DataFrame, masks_bought: bool) -> DataFrame:
    """Return one row a user of either night's `user_histories`: key, size (items in the newer history), masked (what
    may not be recommended now, by item_index) and relearned, whether the user did anything since that counts.
    """
    entries = ("user_id", "history", "history_codes", "bought")
    left, right = before.select(*entries).alias("b"), now.select(*entries).alias("n")
    same = [F.col(f"b.{column}").eqNullSafe(F.col(f"n.{column}")) for column in entries[1:]]
    masked = F.col("n.bought") if masks_bought else F.array()
    return left.join(right, F.col("b.user_id") == F.col("n.user_id"), "full_outer").select(
        F.coalesce("n.user_id", "b.user_id").alias("key"),
        F.coalesce(F.size("n.history"), F.lit(0)).alias("size"),
        masked.cast("array<int>").alias("masked"),
        (~(same[0] & same[1] & same[2])).alias("relearned"),
    )


def _holds(column: str) -> Column:
    return F.coalesce(F.col(column), F.lit(False))
