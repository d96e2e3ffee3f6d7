"""How the items of a list differ from each other, and whether their categories are those of the key's history."""

from collections.abc import Callable, Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.rules.metrics.diversity import mean_cosine_distances
from recsys_batch.spark.evaluation.lists import check_columns, check_ks, place_items


def measure_category_diversity(
    lists: DataFrame,
    categories: DataFrame,
    *,
    ks: Sequence[int] = (10,),
    key: str = "user_id",
    num_partitions: int | None = None,
) -> DataFrame:
    """Return one row a key: category_diversity@k, the share of pairs of its first k items of different categories.

    `categories` has item_id and category; where an item has several, the first in the alphabet counts. Items without a
    category are left out of the pairs. 0 where there is no pair. RecTools' IntraListDiversity with the Hamming distance
    of one feature (Ziegler et al., 2005).
    """
    check_ks(ks)
    check_columns(categories, "categories", ("item_id", "category"))
    one_each = (
        categories.where(F.col("category").isNotNull()).groupBy("item_id").agg(F.min("category").alias("category"))
    )
    placed = place_items(lists, key=key, num_partitions=num_partitions).where(F.col("place") <= max(ks))
    within = [F.count_if(F.col("place") <= k).alias(f"_{k}") for k in dict.fromkeys(ks)]
    # Pairs of equal categories follow from how often each occurs; no pair of items is made.
    cells = placed.join(one_each, "item_id", "left").groupBy(key, "category").agg(*within)
    return cells.groupBy(key).agg(*(_unlike(f"_{k}").alias(f"category_diversity@{k}") for k in dict.fromkeys(ks)))


def measure_vector_diversity(
    lists: DataFrame,
    vectors: DataFrame,
    *,
    ks: Sequence[int] = (10,),
    key: str = "user_id",
    num_partitions: int | None = None,
) -> DataFrame:
    """Return one row a key: vector_diversity@k, the mean of 1 - cosine over the pairs of its first k items.

    `vectors` has item_id and vector (array of float or double, one row an item). Items without a vector, or with one of
    zeros, are left out of the pairs. 0 where there is no pair. Shuffles a vector for each of the first items of a list,
    so `lists` of a million keys want a sample of them.
    """
    check_ks(ks)
    check_columns(vectors, "vectors", ("item_id", "vector"))
    lengths = list(dict.fromkeys(ks))
    placed = place_items(lists, key=key, num_partitions=num_partitions).where(F.col("place") <= max(ks))
    joined = placed.join(vectors.select("item_id", "vector"), "item_id", "left")
    entry = F.when(F.col("vector").isNotNull(), F.struct("place", "vector"))
    entries = joined.groupBy(key).agg(F.array_sort(F.collect_list(entry)).alias("entries"))
    distances = _cosine_distances(lengths)(F.col("entries.place"), F.col("entries.vector"))
    measured = entries.select(key, distances.alias("distances"))
    return measured.select(key, *(F.col("distances")[n].alias(f"vector_diversity@{k}") for n, k in enumerate(lengths)))


def measure_calibration(
    lists: DataFrame,
    history: DataFrame,
    categories: DataFrame,
    *,
    ks: Sequence[int] = (10,),
    key: str = "user_id",
    smoothing: float = 0.01,
    num_partitions: int | None = None,
) -> DataFrame:
    """Return one row a key with history: calibration@k, the divergence of its list's categories from its history's.

    The Kullback-Leibler divergence, in nats, of p(category | history) from q(category | list), where q is mixed with
    `smoothing` times p (Steck, 2018); 0 is perfect. An item of several categories is split evenly. `history` may have a
    column `weight`; its duplicates count each time. A key without any categorized item in its first k has log(1 /
    smoothing), the largest value. Raises ValueError where `smoothing` is not between 0 and 1.
    """
    check_ks(ks)
    if not 0 < smoothing < 1:
        raise ValueError(f"smoothing must lie between 0 and 1, not {smoothing}")
    check_columns(history, "history", (key, "item_id"))
    check_columns(categories, "categories", ("item_id", "category"))
    lengths = list(dict.fromkeys(ks))
    distinct = categories.where(F.col("category").isNotNull()).select("item_id", "category").distinct()
    sizes = distinct.groupBy("item_id").agg((1.0 / F.count("*")).alias("part"))
    parts = distinct.join(sizes, "item_id")
    weight = F.col("weight").cast("double") if "weight" in history.columns else F.lit(1.0)
    had = history.where(F.col(key).isNotNull()).select(key, "item_id", weight.alias("weight"))
    placed = place_items(lists, key=key, num_partitions=num_partitions).where(F.col("place") <= max(ks))
    in_history = had.join(parts, "item_id").select(
        key, "category", (F.col("weight") * F.col("part")).alias("_p"), *(F.lit(0.0).alias(f"_q{k}") for k in lengths)
    )
    in_lists = placed.join(parts, "item_id").select(
        key,
        "category",
        F.lit(0.0).alias("_p"),
        *(F.when(F.col("place") <= k, F.col("part")).otherwise(0.0).alias(f"_q{k}") for k in lengths),
    )
    names = ["_p", *(f"_q{k}" for k in lengths)]
    cells = in_history.unionByName(in_lists).groupBy(key, "category").agg(*(F.sum(n).alias(n) for n in names))
    totals = cells.groupBy(key).agg(*(F.sum(n).alias(f"{n}_total") for n in names))
    p = F.col("_p") / F.col("_p_total")

    def divergence(k: int) -> Column:
        q = F.when(F.col(f"_q{k}_total") > 0, F.col(f"_q{k}") / F.col(f"_q{k}_total")).otherwise(0.0)
        return F.sum(F.when(p > 0, p * F.log(p / ((1 - smoothing) * q + smoothing * p))).otherwise(0.0))

    shares = cells.join(totals.where(F.col("_p_total") > 0), key)
    return shares.groupBy(key).agg(*(divergence(k).alias(f"calibration@{k}") for k in lengths))


def _unlike(count: str) -> Column:
    """Return the share of pairs of different categories from the counts of each, the null category left out."""
    n = F.when(F.col("category").isNotNull(), F.col(count)).otherwise(0)
    pairs = F.sum(n) * (F.sum(n) - 1) / 2
    return F.when(pairs > 0, 1 - F.sum(n * (n - 1) / 2) / pairs).otherwise(0.0)


def _cosine_distances(ks: Sequence[int]) -> Callable[[Column, Column], Column]:
    lengths = tuple(ks)

    def measure(places: pa.Array, vectors: pa.Array) -> pa.Array:
        return mean_cosine_distances(places, vectors, lengths)

    return F.arrow_udf(measure, "array<double>")  # type: ignore[attr-defined, no-any-return]
