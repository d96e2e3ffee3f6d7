"""Which items, and whose, the lists of all keys show: coverage, concentration, shares of groups, overlap, fullness."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recsys_batch.rules.metrics.exposure import gini, top_share
from recsys_batch.spark.evaluation.lists import check_columns, check_ks, discount, place_items
from recsys_batch.spark.evaluation.results import ListMetric


@dataclass(frozen=True)
class GroupExposure:
    """How much of what shoppers see belongs to a group of items: a supplier, a brand, a price band."""

    group: str | None
    """None: the items of the catalog that have no group."""
    exposure_share: float
    """Share of all exposure in the lists."""
    catalog_share: float
    """Share of the catalog's items."""

    @property
    def ratio(self) -> float:
        """Exposure relative to the size of the group; 1 is neither favored nor neglected, NaN has no item."""
        return self.exposure_share / self.catalog_share if self.catalog_share else float("nan")


def measure_coverage(
    lists: DataFrame,
    keys: DataFrame,
    items: DataFrame,
    *,
    ks: Sequence[int] = (10,),
    key: str = "user_id",
    top_items: int = 100,
    num_partitions: int | None = None,
) -> list[ListMetric]:
    """Return what the lists cover of `keys` (key) and of the catalog `items` (item_id), both without duplicates.

    - user_coverage: share of the keys with at least one item;
    - sufficiency: share of the keys with k items or more (RecTools SufficientReco, over all keys);
    - catalog_coverage: share of the catalog's items in the first k of any list (RecTools CatalogCoverage);
    - gini: Gini index of how often each item of the catalog is in the first k, 0 where all are equally often (Fleder
      and Hosanagar, 2009);
    - top_share: share of the listed rows that the `top_items` most shown items have.

    Items that are not in the catalog, and lists of other keys, are left out. Values are NaN where nothing is listed or
    there is no key. Collects one row for each number of times that an item is shown.
    """
    check_ks(ks)
    check_columns(keys, "keys", (key,))
    check_columns(items, "items", ("item_id",))
    lengths = list(dict.fromkeys(ks))
    wanted = keys.where(F.col(key).isNotNull()).select(key).distinct()
    catalog = items.where(F.col("item_id").isNotNull()).select("item_id").distinct()
    placed = place_items(lists, key=key, num_partitions=num_partitions).where(F.col("place") <= max(ks))
    known = placed.join(catalog, "item_id", "left_semi").join(wanted, key, "left_semi")
    return [
        *_fullness(placed, wanted, lengths, key),
        *_concentration(known, catalog, lengths, top_items, wanted.count()),
    ]


def measure_exposure(
    lists: DataFrame,
    groups: DataFrame,
    *,
    k: int = 10,
    key: str = "user_id",
    group: str = "brand",
    weigh: Literal["discounted", "equal"] = "discounted",
    num_partitions: int | None = None,
) -> list[GroupExposure]:
    """Return the share of each group of items in the exposure of the first k places, the largest share first.

    `groups` is the catalog, one row an item: item_id and the column `group`. A place counts 1 / log2(place + 1)
    (Singh and Joachims, 2018), or 1 where `weigh` is equal. Items outside the catalog are left out. Collects one row a
    group. `price_band` makes groups of prices.
    """
    check_ks((k,))
    check_columns(groups, "groups", ("item_id", group))
    if weigh not in ("discounted", "equal"):
        raise ValueError(f"weigh must be discounted or equal, not {weigh!r}")
    placed = place_items(lists, key=key, num_partitions=num_partitions).where(F.col("place") <= k)
    seen = discount(F.col("place")) if weigh == "discounted" else F.lit(1.0)
    by_item = placed.groupBy("item_id").agg(F.sum(seen).alias("exposure"))
    catalog = groups.where(F.col("item_id").isNotNull()).groupBy("item_id").agg(F.min(group).alias("group"))
    rows = (
        catalog.join(by_item, "item_id", "left")
        .groupBy(F.col("group").cast("string").alias("group"))
        .agg(F.coalesce(F.sum("exposure"), F.lit(0.0)).alias("exposure"), F.count("*").alias("n"))
        .collect()
    )
    exposure, size = sum(row.exposure for row in rows), sum(row.n for row in rows)
    shares = [GroupExposure(r.group, r.exposure / exposure if exposure else 0.0, r.n / size) for r in rows]
    return sorted(shares, key=lambda share: (-share.exposure_share, share.group is None, share.group or ""))


def price_band(price: Column, edges: Sequence[float]) -> Column:
    """Return which band a price falls into: `..10`, `10..50`, `50..` for the edges 10 and 50, an edge going up.

    Null where the price is. Raises ValueError where the edges are empty or do not ascend.
    """
    if not edges or list(edges) != sorted(set(edges)):
        raise ValueError(f"edges must ascend, not {tuple(edges)}")
    names = [f"{edge:g}" for edge in edges]
    band = F.when(price < edges[0], f"..{names[0]}")
    for low, high, edge in zip(names[:-1], names[1:], edges[1:], strict=True):
        band = band.when(price < edge, f"{low}..{high}")
    return band.when(price >= edges[-1], f"{names[-1]}..")


def measure_overlap(
    lists: DataFrame,
    *,
    k: int = 10,
    key: str = "user_id",
    max_pairs: int = 10_000,
    seed: int = 0,
    num_partitions: int | None = None,
) -> list[ListMetric]:
    """Return how alike the first k items of different keys are, over pairs of keys that have a list.

    - common_items: mean number of common items of two keys divided by k; exact, from how often each item is listed
      (one minus it is the inter-user diversity of Zhou et al., 2010);
    - jaccard: mean of common items over the items of either; over all pairs where there are at most `max_pairs`, else
      over that many pairs without a common key, drawn with the seed. It does not follow from the counts of items.

    num_keys is the number of keys compared; values are NaN where there are fewer than two.
    """
    check_ks((k,))
    if max_pairs < 1:
        raise ValueError(f"max_pairs must be 1 or more, not {max_pairs}")
    placed = place_items(lists, key=key, num_partitions=num_partitions).where(F.col("place") <= k)
    counts = placed.groupBy("item_id").agg(F.count("*").cast("double").alias("n"))
    common = counts.agg(F.sum(F.col("n") * (F.col("n") - 1) / 2)).first()
    num_keys = placed.select(key).distinct().count()
    pairs = num_keys * (num_keys - 1) / 2
    if common is None or not pairs:
        return [ListMetric("common_items", k, float("nan"), num_keys), ListMetric("jaccard", k, float("nan"), num_keys)]
    value, num_compared = _jaccard(placed, key, pairs <= max_pairs, max_pairs, seed)
    return [
        ListMetric("common_items", k, common[0] / pairs / k, num_keys),
        ListMetric("jaccard", k, value, num_compared),
    ]


def _fullness(placed: DataFrame, wanted: DataFrame, ks: Sequence[int], key: str) -> list[ListMetric]:
    sizes = placed.groupBy(key).agg(F.count("*").alias("size"))
    joined = wanted.join(sizes, key, "left").select(F.coalesce("size", F.lit(0)).alias("size"))
    row = joined.agg(
        F.count("*"), F.avg((F.col("size") > 0).cast("int")), *(F.avg((F.col("size") >= k).cast("int")) for k in ks)
    ).first()
    if row is None:
        return []
    num_keys = int(row[0])
    sufficient = [ListMetric.of_column(f"sufficiency@{k}", row[2 + n], num_keys) for n, k in enumerate(ks)]
    return [ListMetric.of_column("user_coverage", row[1], num_keys), *sufficient]


def _concentration(
    known: DataFrame, catalog: DataFrame, ks: Sequence[int], top_items: int, num_keys: int
) -> list[ListMetric]:
    within = [F.count_if(F.col("place") <= k).alias(f"_{k}") for k in ks]
    shown = catalog.join(known.groupBy("item_id").agg(*within), "item_id", "left").fillna(0)
    metrics = []
    for k, levels in zip(ks, _levels(shown, ks), strict=True):
        times, num_items = levels
        listed = num_items[times > 0].sum() / num_items.sum() if num_items.sum() else None
        found = {
            "catalog_coverage": listed,
            "gini": gini(times, num_items),
            "top_share": top_share(times, num_items, top_items),
        }
        metrics += [ListMetric.of_column(f"{name}@{k}", value, num_keys) for name, value in found.items()]
    return metrics


def _levels(shown: DataFrame, ks: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each k how often items are shown, and how many items are shown that often."""
    entries = F.explode(
        F.array(*(F.struct(F.lit(n).alias("place"), F.col(f"_{k}").alias("times")) for n, k in enumerate(ks)))
    )
    rows = shown.select(entries.alias("entry")).groupBy("entry.place", "entry.times").count().collect()
    found = []
    for n in range(len(ks)):
        mine = [(row.times, row["count"]) for row in rows if row.place == n]
        found.append((np.array([m[0] for m in mine], np.float64), np.array([m[1] for m in mine], np.float64)))
    return found


def _jaccard(placed: DataFrame, key: str, is_whole: bool, max_pairs: int, seed: int) -> tuple[float, int]:
    """Return the mean over pairs of keys, and how many keys they are made of."""
    baskets = placed.groupBy(key).agg(F.collect_list("item_id").alias("items"))
    if is_whole:
        left = baskets.select(F.col(key).alias("a"), F.col("items").alias("items_a"))
        right = baskets.select(F.col(key).alias("b"), F.col("items").alias("items_b"))
        pairs = left.join(right, F.col("a") < F.col("b"))
        num_keys = baskets.count()
    else:
        # The first keys by a seeded hash are a sample; each is paired with the next.
        chosen = baskets.select("items", F.xxhash64(F.col(key), F.lit(seed)).alias("draw"), key)
        drawn = chosen.orderBy("draw", key).limit(2 * max_pairs)
        numbered = drawn.withColumn("n", F.row_number().over(Window.orderBy("draw", key)) - 1)
        pairs = (
            numbered.groupBy(F.floor(F.col("n") / 2))
            .agg(F.first("items").alias("items_a"), F.last("items").alias("items_b"), F.count("*").alias("size"))
            .where("size = 2")
        )
        num_keys = 0
    common = F.size(F.array_intersect("items_a", "items_b"))
    row = pairs.agg(F.avg(common / (F.size("items_a") + F.size("items_b") - common)), F.count("*")).first()
    if row is None or row[0] is None:
        return float("nan"), 0
    return float(row[0]), num_keys or 2 * int(row[1])
