"""What the lists of one side show more of than those of the other: items, sources, reasons, categories; and to whom."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.list_changes import KeyChange, MovedItem, Pair, Shift
from recsys_batch.spark.evaluation.changes.pairs import change_figures, change_of
from recsys_batch.spark.evaluation.lists import discount

# Items in a user's history, up to and with; more is a band of its own.
_HISTORY_BANDS = (0, 2, 5, 10, 20)


def moved_items(pairs: DataFrame, catalog: DataFrame, number: int) -> tuple[list[MovedItem], list[MovedItem]]:
    """Return the items whose share of all exposure grew most and those whose share fell most, up to `number` of each.

    An item in a list is exposed by 1 / log2(rank + 1).
    """
    seen = {side: F.coalesce(F.sum(discount(F.col(f"rank_{side}"))), F.lit(0.0)) for side in ("before", "now")}
    items = pairs.groupBy("item_id").agg(
        F.count("rank_before").alias("lists_before"),
        F.count("rank_now").alias("lists_now"),
        *(exposure.alias(side) for side, exposure in seen.items()),
    )
    (total,) = items.agg(F.sum("before").alias("before"), F.sum("now").alias("now")).collect()
    shares = items.withColumns({side: F.col(side) / F.lit(total[side] or None) for side in ("before", "now")})
    shares = shares.fillna(0.0).withColumn("gain", F.col("now") - F.col("before"))
    found = []
    for order, sign in ((F.desc("gain"), "gain > 0"), (F.asc("gain"), "gain < 0")):
        top = shares.where(sign).orderBy(order, "item_id").limit(number)
        rows = top.join(catalog.select("item_id", "title"), "item_id", "left").orderBy(order, "item_id").collect()
        found.append(
            [
                MovedItem(r.item_id, r.title or "", Pair(r.lists_before, r.lists_now), Pair(r.before, r.now))
                for r in rows
            ]
        )
    return found[0], found[1]


def shifted_groups(before: DataFrame, now: DataFrame, catalog: DataFrame, number: int) -> dict[str, tuple[Shift, ...]]:
    """Return, for `source`, `reason` and `category`, the groups whose share of the rows moved most, up to `number`.

    A row counts for each of its sources, so that shares of sources add up to more than 1. A category is the first level
    of its path. Collects one row a group.
    """
    rows = before.withColumn("is_now", F.lit(0)).unionByName(now.withColumn("is_now", F.lit(1)))
    named = rows.join(catalog.select("item_id", "category"), "item_id", "left")
    first_level = F.coalesce(F.trim(F.split("category", ">")[0]), F.lit("none"))
    groups = F.concat(
        F.transform("sources", lambda source: _group("source", source)),
        F.array(_group("reason", F.col("kind")), _group("category", first_level), _group("all", F.lit(""))),
    )
    counted = named.select("is_now", F.explode(groups).alias("g")).groupBy("g.of", "g.group")
    counts = counted.agg(
        F.count_if(F.col("is_now") == 0).alias("before"), F.count_if(F.col("is_now") == 1).alias("now")
    ).collect()
    totals = next(((row.before, row.now) for row in counts if row.of == "all"), (0, 0))
    found = {}
    for of in ("source", "reason", "category"):
        shares = [
            Shift(row.group, Pair(row.before / max(totals[0], 1), row.now / max(totals[1], 1)))
            for row in counts
            if row.of == of
        ]
        shares.sort(key=lambda shift: (-abs(shift.share.now - shift.share.before), -shift.share.now, shift.group))
        found[of] = tuple(shares[:number])
    return found


def changed_segments(keys: DataFrame, histories: DataFrame) -> dict[str, KeyChange]:
    """Return how much the lists of users differ by how many items their newer history has (`causes.pair_histories`)."""
    sized = keys.join(histories.select("key", "size"), "key", "left").fillna(0, ["size"])
    band = F.lit(len(_HISTORY_BANDS))
    for place, last in reversed(list(enumerate(_HISTORY_BANDS))):
        band = F.when(F.col("size") <= last, F.lit(place)).otherwise(band)
    rows = sized.groupBy(band.alias("band")).agg(*change_figures()).orderBy("band").collect()
    return {_band_name(row.band): change_of(row) for row in rows if row["keys"]}


def _band_name(band: int) -> str:
    if band == len(_HISTORY_BANDS):
        return f"{_HISTORY_BANDS[-1] + 1} or more"
    first, last = (0 if band == 0 else _HISTORY_BANDS[band - 1] + 1), _HISTORY_BANDS[band]
    return f"{first}" if first == last else f"{first} to {last}"


def _group(of: str, group: Column) -> Column:
    return F.struct(F.lit(of).alias("of"), group.alias("group"))
