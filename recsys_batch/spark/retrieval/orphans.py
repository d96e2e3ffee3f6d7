"""Vectors that nobody uses any more: marked first, removed much later, without ever taking one from a running night.

`embedding_orphans` holds one row a key, in one of two states:

- marked (`remove_before` null): no retained night used the key at `marked_at`. A night that asks for it takes the mark
  away before it looks which vectors are there (`reclaim`).
- doomed (`remove_before` set): it was marked long enough. The key's rows encoded before that time are being removed and
  count as missing (`without_doomed`), so a night that asks for it encodes it again, and that newer row stays.

A mark leaves the first state in one commit, whoever makes it: of two commits on the same row Delta lets one win, and
the other looks again. So a night either has its vectors unmarked, and nothing removes them for as long as a mark must
stand, or knows that they are going. It holds across crashes: a sweep finishes what an earlier one left doomed.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from delta.tables import DeltaTable
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.schemas import EMBEDDING_ORPHANS_DDL, EMBEDDINGS_DDL
from recsys_batch.spark.lake.tables import Lake, retry_conflicts
from recsys_batch.spark.session import make_frame

_KEY = ["text_key", "fingerprint"]
_SAME = "t.fingerprint = s.fingerprint AND t.text_key = s.text_key"


@dataclass(frozen=True)
class Sweep:
    """What a sweep found and did, in keys; rows where it says so."""

    stored: int
    """Keys in the embedding table before."""
    unused: int
    """Of them those that no retained night uses."""
    marked: int
    """Of the unused those that were not marked before."""
    reclaimed: int
    """Marked keys that came into use again."""
    removed: int
    """Keys marked long enough, with those that an earlier sweep was cut short with."""
    removed_rows: int
    """Their rows in the embedding table."""


def reclaim(lake: Lake, keys: DataFrame, fingerprint: str) -> None:
    """Take the marks of `keys` (text_key) away; call it before looking which vectors are there."""
    if not lake.exists(Tables.EMBEDDING_ORPHANS):
        return
    of_encoder = (F.col("fingerprint") == fingerprint) & F.col("remove_before").isNull()
    marks = lake.read(Tables.EMBEDDING_ORPHANS).where(of_encoder)
    wanted = marks.join(keys, "text_key", "left_semi").select(*_KEY)
    # A night that asks for nothing marked, as nearly every one, commits nothing.
    if marks.isEmpty() or wanted.isEmpty():
        return
    _delete(lake, Tables.EMBEDDING_ORPHANS, wanted, "t.remove_before IS NULL")


def without_doomed(lake: Lake, rows: DataFrame, fingerprint: str) -> DataFrame:
    """Return the rows of the embedding table (text_key, encoded_at, ... of one encoder) that are not being removed."""
    if not lake.exists(Tables.EMBEDDING_ORPHANS):
        return rows
    going = _doomed(lake).where(F.col("fingerprint") == fingerprint).select("text_key", "remove_before")
    dead = (rows["text_key"] == going["text_key"]) & _older(rows["encoded_at"], going["remove_before"])
    return rows.join(going, dead, "left_anti")


def sweep(lake: Lake, used: DataFrame, now: datetime, retention: timedelta, dry_run: bool = False) -> Sweep:
    """Remove what was marked at least `retention` ago and is still unused, then mark what is unused now.

    `used` has (text_key, fingerprint) of everything that a retained night uses. No row encoded within `retention` is
    removed. With `dry_run` nothing is written.
    """
    if not dry_run:
        lake.ensure(Tables.EMBEDDING_ORPHANS, EMBEDDING_ORPHANS_DDL, ("fingerprint",))
    cutoff = F.lit(now - retention)
    # Made from every retained night, and needed again after each commit below.
    held = used.distinct().persist(StorageLevel.DISK_ONLY)
    keys = _classified(lake, held, cutoff).persist(StorageLevel.DISK_ONLY)
    try:
        groups = keys.groupBy("state", "stored", "used").count().collect()
        states: Counter[str] = Counter()
        for row in groups:
            states[row.state] += row["count"]
        removed = states["ripe"] + states["doomed"]
        found = Sweep(
            stored=sum(row["count"] for row in groups if row.stored),
            unused=sum(row["count"] for row in groups if row.stored and not row.used),
            marked=states["new"],
            reclaimed=states["reclaimed"],
            removed=removed,
            removed_rows=_count_rows(lake, keys.where("state IN ('ripe', 'doomed')"), cutoff) if removed else 0,
        )
        if not dry_run:
            _apply(lake, keys, states, now, retention)
    finally:
        keys.unpersist()
        held.unpersist()
    return found


def _classified(lake: Lake, used: DataFrame, cutoff: Column) -> DataFrame:
    """Return (text_key, fingerprint, stored, used, remove_before, state) of every key stored or marked.

    States: `reclaimed`, marked and used; `ripe`, unused and marked long enough; `doomed`; `new`, unused and not marked;
    `stale`, marked without a vector; `kept`, all others.
    """
    stored = (
        lake.read(Tables.EMBEDDINGS)
        .where("text_key IS NOT NULL")
        .select(*_KEY)
        .distinct()
        .withColumn("stored", F.lit(True))
    )
    flagged = used.withColumn("used", F.lit(True))
    both = stored.join(_orphans(lake), _KEY, "full").join(flagged, _KEY, "left")
    marked = F.col("marked_at").isNotNull()
    state = (
        F.when(F.col("remove_before").isNotNull(), "doomed")
        .when(F.col("stored").isNull(), "stale")
        .when(marked & F.col("used").isNotNull(), "reclaimed")
        .when(marked & (F.col("marked_at") <= cutoff), "ripe")
        .when(~marked & F.col("used").isNull(), "new")
        .otherwise("kept")
    )
    truths = {name: F.coalesce(name, F.lit(False)) for name in ("stored", "used")}
    return both.withColumn("state", state).withColumns(truths).select(*_KEY, *truths, "remove_before", "state")


def _apply(lake: Lake, keys: DataFrame, states: Counter[str], now: datetime, retention: timedelta) -> None:
    if states["reclaimed"] or states["stale"]:
        freed = keys.where("state IN ('reclaimed', 'stale')").select(*_KEY)
        _delete(lake, Tables.EMBEDDING_ORPHANS, freed, "t.remove_before IS NULL")
    if states["ripe"]:
        _doom(lake, keys.where("state = 'ripe'").select(*_KEY), now - retention)
    if states["ripe"] or states["doomed"]:
        _remove_doomed(lake)
    if states["new"]:
        _mark(lake, keys.where("state = 'new'").select(*_KEY), now)


def _remove_doomed(lake: Lake) -> None:
    """Delete the rows of doomed keys, then the keys' marks."""
    lake.ensure(Tables.EMBEDDINGS, EMBEDDINGS_DDL, ("fingerprint",))
    # Read back, as a night may have reclaimed some in between, and at a version, as no mark may go whose rows stand:
    # another sweep that is still about to delete them would take them from a night that found no mark.
    version = lake.latest_version(Tables.EMBEDDING_ORPHANS)
    going = lake.read(Tables.EMBEDDING_ORPHANS, version).where("remove_before IS NOT NULL")
    going = going.select(*_KEY, "remove_before")
    older = "t.encoded_at IS NULL OR t.encoded_at < s.remove_before"
    for fingerprint in sorted(row.fingerprint for row in going.select("fingerprint").distinct().collect()):
        of_encoder = going.where(F.col("fingerprint") == fingerprint)
        # The literal keeps the rewrite, and conflicts with it, to the encoder's own partition.
        _delete(lake, Tables.EMBEDDINGS, of_encoder, older, F.col("t.fingerprint") == fingerprint)
    _delete(lake, Tables.EMBEDDING_ORPHANS, going, "t.remove_before = s.remove_before")


def _doom(lake: Lake, keys: DataFrame, remove_before: datetime) -> None:
    """Pass from marked to doomed what is still marked since `remove_before` or longer."""

    def commit() -> None:
        target = DeltaTable.forPath(lake.spark, lake.path(Tables.EMBEDDING_ORPHANS)).alias("t")
        merge = target.merge(keys.alias("s"), _SAME)
        moment = F.lit(remove_before)
        # Another sweep may have marked it anew, or doomed it.
        still = F.col("t.remove_before").isNull() & (F.col("t.marked_at") <= moment)
        merge.whenMatchedUpdate(condition=still, set={"remove_before": moment}).execute()

    retry_conflicts(commit)


def _mark(lake: Lake, keys: DataFrame, now: datetime) -> None:
    rows = keys.withColumns({"marked_at": F.lit(now), "remove_before": F.lit(None).cast("timestamp")})

    def commit() -> None:
        target = DeltaTable.forPath(lake.spark, lake.path(Tables.EMBEDDING_ORPHANS)).alias("t")
        target.merge(rows.alias("s"), _SAME).whenNotMatchedInsertAll().execute()

    retry_conflicts(commit)


def _delete(lake: Lake, table: str, keys: DataFrame, condition: str, within: Column | None = None) -> None:
    same = F.expr(_SAME) if within is None else within & F.expr(_SAME)

    def commit() -> None:
        target = DeltaTable.forPath(lake.spark, lake.path(table)).alias("t")
        target.merge(keys.alias("s"), same).whenMatchedDelete(condition=condition).execute()

    retry_conflicts(commit)


def _count_rows(lake: Lake, keys: DataFrame, cutoff: Column) -> int:
    """Return how many rows of the embedding table go with `keys` (text_key, fingerprint, remove_before)."""
    table = lake.read(Tables.EMBEDDINGS)
    rows = table.select(*_KEY, F.col("encoded_at") if "encoded_at" in table.columns else _never().alias("encoded_at"))
    return rows.join(keys, _KEY).where(_older(F.col("encoded_at"), F.coalesce("remove_before", cutoff))).count()


def _older(encoded_at: Column, than: Column) -> Column:
    # Rows of versions that did not say when are old.
    return encoded_at.isNull() | (encoded_at < than)


def _orphans(lake: Lake) -> DataFrame:
    if not lake.exists(Tables.EMBEDDING_ORPHANS):
        return make_frame(lake.spark, [], EMBEDDING_ORPHANS_DDL)
    return lake.read(Tables.EMBEDDING_ORPHANS)


def _doomed(lake: Lake) -> DataFrame:
    return _orphans(lake).where("remove_before IS NOT NULL")


def _never() -> Column:
    return F.lit(None).cast("timestamp")
