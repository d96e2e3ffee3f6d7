"""Where lists win and lose: means of what was measured, by bins of users, targets and queries.

Knows frames with a row a user, target or query; who made the lists does not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.spark.evaluation.segments import bin_of

# Of groups with names, such as categories, the largest ones are told.
_GROUPS_SHOWN = 6


@dataclass(frozen=True)
class Kind:
    """What rows are put into bins by: a column of numbers with edges, or one of names."""

    name: str
    column: str
    edges: tuple[int, ...] = ()
    """Lower edges of all bins but the first, ascending; of a column of names none."""


@dataclass(frozen=True)
class BinResult:
    """A bin of users, targets or queries, and what was measured of it: NDCG of users and queries, recall of targets."""

    kind: str
    name: str
    size: int
    values: dict[str, float]
    """Run -> mean."""


_DAYS = (2, 8, 31, 91)
USER_KINDS = (
    Kind("acts of the user", "num_acts", (2, 6, 21, 101)),
    Kind("days since the last", "days_since", _DAYS),
    Kind("language of the user", "language"),
    Kind("user mostly in", "category"),
)
TARGET_KINDS = (
    Kind("buyers of the target", "num_users", (1, 10, 100, 1000)),
    Kind("days since its first", "age_days", _DAYS),
    Kind("language", "language"),
    Kind("category", "category"),
)
QUERY_KINDS = (
    Kind("searches of the query", "num_searches", (2, 6, 21, 101)),
    Kind("language", "language"),
)


def mean_by_bin(rows: DataFrame, kinds: Sequence[Kind], runs: Sequence[str]) -> list[BinResult]:
    """Return the mean of the columns `runs` in each bin of each kind; rows without a value of the kind are left out.

    Bins of numbers ascend; of named groups the largest come, largest first. Collects a row a bin.
    """
    means = [F.avg(F.col(f"`{run}`")).alias(f"mean_{n}") for n, run in enumerate(runs)]
    rows = rows.persist()
    found = []
    for kind in kinds:
        column = F.col(kind.column)
        grouped = rows.where(column.isNotNull()).groupBy(_bin(column, kind).alias("bin"))
        binned = grouped.agg(F.count("*").alias("size"), *means)
        ordered = binned.orderBy("bin") if kind.edges else binned.orderBy(F.desc("size"), "bin").limit(_GROUPS_SHOWN)
        for row in ordered.collect():
            name = _name(row["bin"], kind.edges) if kind.edges else row["bin"]
            values = {run: float(row[f"mean_{n}"]) for n, run in enumerate(runs)}
            found.append(BinResult(kind.name, name, row["size"], values))
    rows.unpersist()
    return found


def _bin(column: Column, kind: Kind) -> Column:
    return bin_of(column, kind.edges) if kind.edges else column


def _name(place: int, edges: Sequence[int]) -> str:
    """Return `0 to 1`, `2 to 5`, ..., `101 or more`."""
    if place == len(edges):
        return f"{edges[-1]} or more"
    low = edges[place - 1] if place else 0
    return f"{low} to {edges[place] - 1}" if edges[place] - 1 > low else f"{low}"
