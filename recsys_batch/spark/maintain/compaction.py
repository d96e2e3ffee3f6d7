"""Small files merged, and files that no version needs any more deleted."""

import logging
import re
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from delta.tables import DeltaTable

from recsys_batch.spark.lake.files import as_file_uri, list_files
from recsys_batch.spark.lake.tables import Lake, retry_conflicts
from recsys_batch.spark.session import with_settings

log = logging.getLogger("recsys_batch.night")

# Smaller files are merged into ones of at most the double: any two of them fit, and a merged one is small no more.
SMALL_BYTES = 64 * 2**20
_RETENTION = "delta.deletedFileRetentionDuration"
_DEFAULT_RETENTION = timedelta(days=7)
_INTERVAL = re.compile(r"(\d+)\s+(week|day|hour|minute|second)s?")


@dataclass(frozen=True)
class Compaction:
    """Files of one table: how many small ones, and what they became."""

    small: int = 0
    """Files below SMALL_BYTES that have another one beside them."""
    removed: int = 0
    added: int = 0


def compact(lake: Lake, name: str, where: str = "", dry_run: bool = False) -> Compaction:
    """Merge the small files of each partition; `where`, a predicate on partition columns, chooses partitions.

    No row changes and readers go on; a table without two small files in one partition gets no commit.
    """
    small = small_files(lake, name, where)
    if dry_run or not small:
        return Compaction(small)
    done = Compaction(small)

    def commit() -> None:
        nonlocal done
        optimize = DeltaTable.forPath(lake.spark, lake.path(name)).optimize()
        made = (optimize.where(where) if where else optimize).executeCompaction()
        (row,) = made.select("metrics.numFilesRemoved", "metrics.numFilesAdded").collect()
        done = Compaction(small, int(row[0]), int(row[1]))

    sizes = {
        "spark.databricks.delta.optimize.minFileSize": str(SMALL_BYTES),
        "spark.databricks.delta.optimize.maxFileSize": str(2 * SMALL_BYTES),
    }
    with with_settings(lake.spark, sizes):
        retry_conflicts(commit)
    return done


def small_files(lake: Lake, name: str, where: str = "") -> int:
    """Return how many files below SMALL_BYTES share their partition with another one."""
    table = lake.read(name)
    active = {as_file_uri(lake.spark, uri) for uri in (table.where(where) if where else table).inputFiles()}
    states = [state for state in list_files(lake.spark, lake.path(name)) if state.uri in active]
    partitions = Counter(state.path.rsplit("/", 1)[0] for state in states if state.length < SMALL_BYTES)
    return sum(number for number in partitions.values() if number > 1)


def vacuum(lake: Lake, name: str, retention: timedelta, dry_run: bool = False) -> int:
    """Delete the table's files that no version of its retention needs, and return their number.

    The retention is the table's own `delta.deletedFileRetentionDuration` (7 days where it has none): Delta heeds
    nothing else, and setting it here would fail the commit of a night that is writing. A table that keeps its files
    for less than `retention` is left alone, with a warning that says what to do.
    """
    own = deleted_file_retention(lake, name)
    path = lake.path(name).replace("`", "``")
    if own is None or own < retention:
        hours = int(retention.total_seconds() // 3600)
        log.warning(
            "%s: not vacuumed, as its %s (%s) is shorter than maintain.retention_hours (%d); while no night runs: "
            "ALTER TABLE delta.`%s` SET TBLPROPERTIES ('%s' = 'interval %d hours')",
            name,
            _RETENTION,
            own,
            hours,
            path,
            _RETENTION,
            hours,
        )
        return 0
    # Delta lists folders with as many tasks as this says, 10,000 by default, each for nothing in all but vast tables.
    tasks = str(4 * max(lake.spark.sparkContext.defaultParallelism, 1))
    with with_settings(lake.spark, {"spark.sql.sources.parallelPartitionDiscovery.parallelism": tasks}):
        unneeded = lake.spark.sql(f"VACUUM delta.`{path}` DRY RUN").count()
        # A vacuum writes two commits even where it finds nothing.
        if unneeded and not dry_run:
            DeltaTable.forPath(lake.spark, lake.path(name)).vacuum()
    return int(unneeded)


def deleted_file_retention(lake: Lake, name: str) -> timedelta | None:
    """Return how long the table keeps the files of older versions; None where its property cannot be read."""
    (detail,) = DeltaTable.forPath(lake.spark, lake.path(name)).detail().select("properties").collect()
    text = detail.properties.get(_RETENTION)
    return _DEFAULT_RETENTION if text is None else parse_interval(text)


def parse_interval(text: str) -> timedelta | None:
    """Return a Delta interval such as `interval 1 week 12 hours` as a duration; None where it holds anything else."""
    parts = _INTERVAL.findall(text.lower())
    if not parts or _INTERVAL.sub("", text.lower()).replace("interval", "").strip():
        return None
    return sum((timedelta(**{f"{unit}s": int(number)}) for number, unit in parts), timedelta())
