"""Catalog history: what the catalog said of an item since when, and which of it an event could have known.

`item_history` is append-only. One row is a change: from `valid_from` on, the item's history columns had these values.
What a catalog only says again, as one exported anew every night does, is not stored. Rows that arrive late are sorted
in on reading. It does not know the attributes of items, nor which row of the catalog is right.
"""

import zlib
from collections.abc import Sequence
from datetime import date, timedelta

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs, Tables
from recsys_batch.spark.lake.tables import Lake, retry_conflicts
from recsys_batch.spark.session import make_frame

# An item id, two times and a place in the hash table come to some 150 bytes a row.
_BROADCAST_ROWS = 500_000


def observe_items(lake: Lake, rows: DataFrame, columns: Sequence[str], ds: date, is_of_ds: bool = True) -> None:
    """Store what `rows` (item_id, updated_at, columns), the whole catalog source as of `ds`, says of each item.

    A row later than `ds` holds from its own time on, and says nothing of `ds` (`item_versions`). A null `updated_at`
    means since always (1970) where the item also has dated rows, or was never observed before. Else it is a snapshot:
    where it differs from the version open at `ds`, it holds from midnight of `ds`. A dated row that says what the
    item's version of that time says already is no change, however often `updated_at` moves. Of two contents at one
    instant the one with the greater hash is kept.
    A second call, or one at the same time, changes nothing. Where the source does not show the catalog of `ds`
    (`is_of_ds`), as where a past date is run again on a file of today, snapshots say nothing and are left out.
    In whichever order nights come, the history is that of all their rows, but for what one said again before another
    said of an earlier time that it was different: from then on the item is different until it is said once more.
    """
    said = _last_of_instants(
        rows.select(
            "item_id",
            F.coalesce("updated_at", _since_always()).alias("valid_from"),
            _hash_of(columns).alias("version_hash"),
            F.col("updated_at").isNull().alias("_undated"),
            *columns,
        )
    )
    # An undated row is a snapshot where it is all that the source says of the item.
    alone = F.lag("item_id").over(_in_order()).isNull() & F.lead("item_id").over(_in_order()).isNull()
    said = said.withColumn("_snapshot", F.col("_undated") & alone).drop("_undated")
    if not is_of_ds:
        said = said.where(~F.col("_snapshot"))

    if not lake.exists(Tables.ITEM_HISTORY):
        types = Inputs.TYPES["items"]
        ddl = ", ".join(f"{column} {types[column]}" for column in columns)
        nothing = make_frame(lake.spark, [], f"item_id STRING, valid_from TIMESTAMP, version_hash STRING, {ddl}")
        if lake.create(Tables.ITEM_HISTORY, _changes(said, nothing, columns, ds)):
            return

    def store() -> None:
        new = _changes(said, lake.read(Tables.ITEM_HISTORY), columns, ds)
        target = DeltaTable.forPath(lake.spark, lake.path(Tables.ITEM_HISTORY)).alias("t")
        same = " AND ".join(f"t.{key} = s.{key}" for key in ("item_id", "valid_from", "version_hash"))
        target.merge(new.alias("s"), same).withSchemaEvolution().whenNotMatchedInsertAll().execute()

    # Read again each time: what another run stored may be what this one was about to.
    retry_conflicts(store)


def item_versions(lake: Lake, ds: date, columns: Sequence[str]) -> DataFrame:
    """Return the versions of each item known at the end of `ds`, one row a change of any of `columns`.

    Columns: item_id, valid_from, valid_to (null for the open one), version_hash, the given ones, is_current. A version
    holds from valid_from until just before valid_to; those of one item neither overlap nor leave a gap.
    `columns` must be those that `observe_items` was given: observations of other columns are another history.
    """
    stored = _observed(lake.read(Tables.ITEM_HISTORY), columns, ds)
    starts = _run_starts(stored.select("item_id", "valid_from", "version_hash", *columns))
    valid_to = F.lead("valid_from").over(_in_order())
    return starts.select(
        "item_id",
        "valid_from",
        valid_to.alias("valid_to"),
        "version_hash",
        *columns,
        valid_to.isNull().alias("is_current"),
    )


def join_as_of(events: DataFrame, versions: DataFrame, broadcast_rows: int = _BROADCAST_ROWS) -> DataFrame:
    """Add `item_valid_from` to the events (item_id, event_time, ...): the start of the item's version at that time.

    It is null where no version was known then. One row an event comes out, as versions do not overlap. `versions`
    comes from `item_versions` and is counted first, so persist it; up to `broadcast_rows` go to every executor.
    """
    spans = versions.select(
        F.col("item_id").alias("_item_id"), F.col("valid_from").alias("item_valid_from"), F.col("valid_to").alias("_to")
    )
    if spans.limit(broadcast_rows + 1).count() <= broadcast_rows:
        # The events stay where they are; else the shuffled join below, whose skewed partitions Spark splits.
        spans = F.broadcast(spans)
    time = F.col("event_time")
    holds = (time >= F.col("item_valid_from")) & (F.col("_to").isNull() | (time < F.col("_to")))
    return events.join(spans, (F.col("item_id") == F.col("_item_id")) & holds, "left").drop("_item_id", "_to")


def _run_starts(observations: DataFrame) -> DataFrame:
    """Keep the last observation of each instant, and of consecutive equal ones the first."""
    before = F.lag("version_hash").over(_in_order())
    # One shuffle and one sort serve all windows of this order.
    last = _last_of_instants(observations)
    return last.withColumn("_before", before).where("_before IS NULL OR _before <> version_hash").drop("_before")


def _last_of_instants(observations: DataFrame) -> DataFrame:
    next_start = F.lead("valid_from").over(_in_order())
    return observations.withColumn("_next", next_start).where("_next IS NULL OR _next > valid_from").drop("_next")


def _in_order() -> WindowSpec:
    return Window.partitionBy("item_id").orderBy("valid_from", "version_hash")


def _changes(said: DataFrame, stored: DataFrame, columns: Sequence[str], ds: date) -> DataFrame:
    """Return what is to be stored of what the source says: all that differs from what stood before it."""
    dated = _dated(said, stored, columns, ds).withColumn("_new", F.lit(True))
    own = stored.where(F.col("version_hash").startswith(_signature(columns)))
    known = own.select("item_id", "valid_from", "version_hash", F.lit(False).alias("_new"))
    before = F.lag("version_hash").over(_in_order())
    placed = dated.unionByName(known, allowMissingColumns=True).withColumn("_before", before)
    # What stood before may be of the same instant: then the row, of the greater hash, takes its place.
    changed = _last_of_instants(placed).where("_new AND (_before IS NULL OR _before <> version_hash)")
    return changed.select("item_id", "valid_from", "version_hash", *columns)


def _dated(said: DataFrame, stored: DataFrame, columns: Sequence[str], ds: date) -> DataFrame:
    """Give snapshots the time from which they hold, and leave out those that say nothing new."""
    is_known = F.col("version_hash").startswith(_signature(columns)) & (F.col("valid_from") < _end_of(ds))
    known = stored.groupBy("item_id").agg(
        F.max_by("version_hash", F.when(is_known, F.struct("valid_from", "version_hash"))).alias("_open"),
        F.lit(True).alias("_observed"),
    )
    since = F.when(F.col("_snapshot") & F.col("_observed").isNotNull(), F.lit(ds).cast("timestamp")).otherwise(
        F.col("valid_from")
    )
    is_new = ~(F.col("_snapshot") & F.coalesce(F.col("_open") == F.col("version_hash"), F.lit(False)))
    return (
        said.join(known, "item_id", "left")
        .where(is_new)
        .select("item_id", since.alias("valid_from"), "version_hash", *columns)
    )


def _observed(stored: DataFrame, columns: Sequence[str], ds: date) -> DataFrame:
    return stored.where(F.col("version_hash").startswith(_signature(columns)) & (F.col("valid_from") < _end_of(ds)))


def _hash_of(columns: Sequence[str]) -> Column:
    """Name a content: eight digits for the columns, sixteen for their values."""
    ordered = sorted(columns)
    # The hash passes over nulls; the flags tell null from empty, and which of two columns is null.
    content = F.xxhash64(*(F.isnull(column) for column in ordered), *ordered)
    return F.concat(F.lit(_signature(columns)), F.lpad(F.lower(F.hex(content)), 16, "0"))


def _signature(columns: Sequence[str]) -> str:
    return f"{zlib.crc32(','.join(sorted(columns)).encode()):08x}"


def _since_always() -> Column:
    return F.lit("1970-01-01 00:00:00").cast("timestamp")


def _end_of(ds: date) -> Column:
    return F.lit(ds + timedelta(days=1)).cast("timestamp")
