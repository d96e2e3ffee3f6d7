"""All figures of one list table on two sides, and the lists of a few keys next to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.list_changes import KeyLists, ListChanges, Pair, Placed
from recsys_batch.spark.evaluation.changes.causes import count_causes, pair_histories
from recsys_batch.spark.evaluation.changes.pairs import (
    ON_BOTH,
    change_figures,
    change_of,
    list_rows,
    pair_catalogs,
    pair_keys,
    pair_rows,
)
from recsys_batch.spark.evaluation.changes.shifts import changed_segments, moved_items, shifted_groups
from recsys_batch.spark.evaluation.changes.sides import Side
from recsys_batch.spark.evaluation.exposure import measure_coverage
from recsys_batch.spark.session import night_settings

_ITEMS_SHOWN = 5
_GROUPS_SHOWN = 8
# Of a row of a list, about.
_ROW_BYTES = 50


def common_tables(baseline: Side, candidate: Side) -> list[str]:
    """Return the list tables of both sides. Raises ConfigError where there is none."""
    tables = [table for table in baseline.lists if table in candidate.lists]
    if not tables:
        names = (f"run {side.facts.run_id} made {', '.join(side.lists)}" for side in (baseline, candidate))
        raise ConfigError(f"no list table is on both sides: {'; '.join(names)}")
    return tables


def settings_for(baseline: Side, candidate: Side) -> dict[str, str]:
    """Return the settings of speed for lists of this size: of few rows, planning takes most of the time."""
    return night_settings(_ROW_BYTES * (baseline.num_rows + candidate.num_rows))


def compare_sides(baseline: Side, candidate: Side, table: str, *, masks_bought: bool = True) -> "Comparison":
    """Pair the rows that both sides have of a list table; nothing is computed yet.

    `masks_bought` says whether what a user bought is kept out of the lists, as it is unless repeats are allowed.
    """
    catalog = pair_catalogs(baseline.prepared(Tables.ITEMS), candidate.prepared(Tables.ITEMS))
    histories = None
    if table == Tables.USER_RECOMMENDATIONS:
        earlier, later = (side.prepared(Tables.USER_HISTORIES) for side in (baseline, candidate))
        histories = pair_histories(earlier, later, masks_bought)
    return Comparison.of(table, baseline.lists[table], candidate.lists[table], catalog, histories)


@dataclass(frozen=True)
class Comparison:
    """One list table of two sides; a context, which lets the paired rows go at its end."""

    table: str
    before: DataFrame
    """Rows of `pairs.list_rows`."""
    now: DataFrame
    pairs: DataFrame
    keys: DataFrame
    catalog: DataFrame
    histories: DataFrame | None

    @classmethod
    def of(
        cls, table: str, before: DataFrame, now: DataFrame, catalog: DataFrame, histories: DataFrame | None = None
    ) -> "Comparison":
        """Pair the published rows of a list table; nothing is computed yet.

        `catalog` is that of `pairs.pair_catalogs`, `histories`, for user lists, that of `causes.pair_histories`.
        """
        rows = list_rows(before, table), list_rows(now, table)
        pairs = pair_rows(*rows).persist()
        owners = histories.persist() if histories is not None else None
        return cls(table, *rows, pairs, pair_keys(pairs).persist(), catalog.persist(), owners)

    def __enter__(self) -> "Comparison":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for frame in (self.pairs, self.keys, self.catalog, self.histories):
            if frame is not None:
                frame.unpersist()

    def measure(self) -> ListChanges:
        """Return what moved, for whom, and why. Collects figures, and a row for each group and each shown item."""
        totals = self.keys.agg(
            *change_figures(),
            F.count_if(F.col("num_now") == 0).alias("only_before"),
            F.count_if(F.col("num_before") == 0).alias("only_now"),
            *(F.sum(f"num_{side}").alias(f"rows_{side}") for side in ("before", "now")),
            *(F.max(f"model_{side}").alias(f"model_{side}") for side in ("before", "now")),
            F.max(F.greatest("num_before", "num_now")).alias("longest"),
            F.sum(F.when(F.expr(ON_BOTH), F.col("num_now") - F.col("num_common"))).alias("entered"),
        ).collect()[0]
        longest = int(totals.longest or 1)
        spread = [self._spread(rows, eligible, longest) for rows, eligible in self._sides()]
        gained, lost = moved_items(self.pairs, self.catalog, _ITEMS_SHOWN)
        spreads = {name: Pair(spread[0][name], spread[1][name]) for name in ("catalog_coverage", "top_share", "gini")}
        return ListChanges(
            table=self.table,
            only_before=int(totals.only_before),
            only_now=int(totals.only_now),
            both=change_of(totals),
            rows=Pair(int(totals.rows_before or 0), int(totals.rows_now or 0)),
            longest=longest,
            models=Pair(totals.model_before or "", totals.model_now or ""),
            left=count_causes(self.pairs, self.keys, self.catalog, self.histories),
            entered=int(totals.entered or 0),
            coverage=spreads["catalog_coverage"],
            top_share=spreads["top_share"],
            gini=spreads["gini"],
            shifts=shifted_groups(self.before, self.now, self.catalog, _GROUPS_SHOWN),
            gained=tuple(gained),
            lost=tuple(lost),
            segments={} if self.histories is None else changed_segments(self.keys, self.histories),
        )

    def sample(self, number: int, seed: int = 0) -> list[str]:
        """Return up to `number` keys whose lists differ, drawn with the seed: always the same ones."""
        differs = self.keys.where(f"{ON_BOTH} AND num_in_place < greatest(num_before, num_now)")
        drawn = differs.orderBy(F.xxhash64("key", F.lit(seed)), "key").limit(number)
        return [row.key for row in drawn.select("key").collect()]

    def show(self, keys: Sequence[str]) -> list[KeyLists]:
        """Return the lists of these keys on both sides; of a key that no side has, nothing."""
        titles = self.catalog.select("item_id", "title")
        rows = self.pairs.where(F.col("key").isin(*keys)).join(titles, "item_id", "left").collect()
        found: dict[str, list[Placed]] = {key: [] for key in keys}
        for row in rows:
            found[row.key].append(Placed(row.item_id, row.title or "", row.rank_before, row.rank_now))
        return [KeyLists(key, tuple(placed)) for key, placed in found.items() if placed]

    def _sides(self) -> tuple[tuple[DataFrame, DataFrame], tuple[DataFrame, DataFrame]]:
        return (self.before, self.catalog.where("was_eligible")), (self.now, self.catalog.where("is_eligible"))

    @staticmethod
    def _spread(rows: DataFrame, eligible: DataFrame, longest: int) -> dict[str, float]:
        found = measure_coverage(rows, rows, eligible, ks=(longest,), key="key")
        return {each.metric: each.value for each in found}
