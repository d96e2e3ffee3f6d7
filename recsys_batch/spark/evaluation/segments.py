"""Whom lists serve well and whom badly: metrics by segment of keys, and the gap between the best and the worst."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.spark.evaluation.lists import check_columns
from recsys_batch.spark.evaluation.results import ListMetric, value_columns

# Language -> a character of it; the first that a text has counts. Of other scripts the letters are named.
_SCRIPTS = {
    "Japanese": r"[\p{IsHiragana}\p{IsKatakana}]",
    "Korean": r"\p{IsHangul}",
    "Chinese": r"\p{IsHan}",
    "Cyrillic letters": r"\p{IsCyrillic}",
    "Arabic letters": r"\p{IsArabic}",
    "Latin letters": r"\p{IsLatin}",
}


@dataclass(frozen=True)
class SegmentQuality:
    """One metric in every segment that is large enough, the worst segment first."""

    metric: str
    k: int | None
    segments: tuple[tuple[str | None, ListMetric], ...]
    """Segment and its metric; None are the keys without a segment."""

    @property
    def worst(self) -> float:
        """Lowest value of a segment."""
        return self.segments[0][1].value

    @property
    def best(self) -> float:
        """Highest value of a segment."""
        return self.segments[-1][1].value

    @property
    def gap(self) -> float:
        """Highest less lowest value."""
        return self.best - self.worst


def bin_of(value: Column, edges: Sequence[float]) -> Column:
    """Return how many of the `edges`, which ascend, the value reaches: 0 below the first, null where it is null."""
    return reduce(Column.__add__, ((value >= edge).cast("int") for edge in edges))


def language_of(text: Column) -> Column:
    """Return the language of a text, as far as its script tells.

    A text with a Chinese character is Chinese, unless it has Japanese or Korean ones too. One without a letter is
    `other`, and so is none at all.
    """
    found = reduce(
        lambda so_far, script: F.when(text.rlike(_SCRIPTS[script]), script).otherwise(so_far),
        reversed(_SCRIPTS),
        F.lit("other"),
    )
    return F.coalesce(found, F.lit("other"))


def measure_segments(
    values: DataFrame, segments: DataFrame, *, key: str = "user_id", segment: str = "segment", min_keys: int = 1
) -> list[SegmentQuality]:
    """Return the mean of every metric of `values` (one row a key) in every segment.

    `segments` has key and the column `segment`, one row a key. A key that it lacks is in segment None. A segment where
    fewer than `min_keys` keys have a value is left out of that metric, and a metric that no segment has is left out.
    Collects one row a segment.
    """
    check_columns(segments, "segments", (key, segment))
    columns = value_columns(values, key)
    named = segments.select(key, F.col(segment).cast("string").alias("_segment"))
    means = [F.struct(F.avg(f"`{c}`"), F.count(f"`{c}`")).alias(str(n)) for n, c in enumerate(columns)]
    rows = values.join(named, key, "left").groupBy("_segment").agg(*means).collect()
    found = []
    for n, column in enumerate(columns):
        metrics = [(row["_segment"], ListMetric.of_column(column, *row[str(n)])) for row in rows]
        large = [(name, metric) for name, metric in metrics if metric.num_keys >= max(min_keys, 1)]
        ordered = sorted(large, key=lambda pair: (pair[1].value, pair[0] is None, pair[0] or ""))
        if ordered:
            found.append(SegmentQuality(ordered[0][1].metric, ordered[0][1].k, tuple(ordered)))
    return found
