"""Maintenance: what no retained night needs is removed, what is left in small files is merged.

May run beside nights. What is retained, and why each removal is safe, stands in `spark.nights`, `spark.orphans`,
`spark.old_runs`, `spark.raw_ids` and `spark.compaction`; docs/operations.md says it for operators.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs, Lists, Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.report.summary import RunSummary
from recsys_batch.rules.pseudonyms import read_key
from recsys_batch.spark.events.rows import settings_key
from recsys_batch.spark.inputs.input_log import FILES, forget_unread
from recsys_batch.spark.lake.prepared import PREPARED
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.maintain.compaction import compact, vacuum
from recsys_batch.spark.maintain.nights import RetainedNights, encoders_in_use, find_nights, texts_in_use
from recsys_batch.spark.maintain.old_runs import remove_old_runs, remove_superseded
from recsys_batch.spark.maintain.raw_ids import rename_users
from recsys_batch.spark.publish.release import staged_name
from recsys_batch.spark.retrieval.embeddings import keys_of
from recsys_batch.spark.retrieval.orphans import sweep

log = logging.getLogger("recsys_batch.night")

# Appended to, night after night, and read at their newest version only.
_APPENDED = (
    Tables.EMBEDDINGS,
    Tables.EMBEDDING_ORPHANS,
    *(f"input_log/{table}" for table in Inputs.TYPES),
    FILES,
    Tables.ITEM_HISTORY,
    Tables.ID_INDICES,
    Tables.QUALITY_METRICS,
    Tables.RELEASES,
)
# Replaced date by date. Those of retained nights stay as published: their releases name versions, and a merged file
# would take the rows of these out of the newest one.
_DATED = (*Lists.KEY, *(f"{table}_quarantine" for table in (*Inputs.TYPES, "texts")))
# `publications` too is only vacuumed: a publisher takes any commit to it in between for another publisher's.
_REPLACED = (
    *PREPARED,
    Tables.PUBLICATIONS,
    *(staged_name(table) for table in Lists.KEY),
)


def maintain(lake: Lake, config: Config, fingerprint: str, summary: RunSummary, dry_run: bool = False) -> None:
    """Maintain the lake, counting in `summary` what was done, or with `dry_run` what would be.

    `fingerprint` is that of the configured encoder, whose vectors of retained texts stay even before its first night.
    """
    # The age of files and vectors, unlike a business date, is a matter of the clock.
    now = datetime.now(UTC)
    retention = timedelta(hours=config.maintain.retention_hours)
    nights = find_nights(lake, config.maintain.keep_nights, now - retention)
    if nights is None:
        summary.state, summary.message = "nothing to do", f"{lake.root} has no nights"
        return
    summary.ds = f"nights from {nights.since}"
    steps: dict[str, Callable[[], Mapping[str, float]]] = {
        "runs": lambda: _remove_runs(lake, nights, now - retention, dry_run),
        **_id_steps(lake, config, dry_run),
        "vectors": lambda: _sweep_vectors(lake, nights, fingerprint, now, retention, dry_run),
        "files": lambda: _compact(lake, nights, dry_run),
        "vacuum": lambda: {"files_deleted": _vacuum(lake, retention, dry_run)},
    }
    for name, step in steps.items():
        started = time.monotonic()
        counts = step()
        summary.stages[name] = time.monotonic() - started
        summary.count(name, **counts)
        log.info("maintain %s: %s", name, ", ".join(f"{what} {number:,.0f}" for what, number in counts.items()))
    summary.state = "checked" if dry_run else "done"
    if dry_run:
        summary.message = "dry run: the counts say what would be done; nothing was changed"


def _remove_runs(lake: Lake, nights: RetainedNights, before: datetime, dry_run: bool) -> dict[str, float]:
    old = remove_old_runs(lake, nights, before, dry_run)
    superseded = remove_superseded(lake, before, dry_run)
    for what, run_ids in (("runs", old.run_ids), ("prepared slices of runs", superseded)):
        if run_ids:
            log.info("%s %s: %s", what, "that would be removed" if dry_run else "removed", ", ".join(run_ids))
    return {
        "folders_removed": old.folders,
        "megabytes_removed": old.folder_bytes / 2**20,
        "staged_slices_removed": old.slices,
        "staged_rows_removed": old.rows,
        "old_but_needed": old.needed,
        "prepared_runs_removed": len(superseded),
    }


def _id_steps(lake: Lake, config: Config, dry_run: bool) -> dict[str, Callable[[], Mapping[str, float]]]:
    variable = config.prepare.pseudonymize_with
    try:
        key = read_key(variable, os.environ) if variable else None
    except ConfigError as error:
        log.warning("the input log is kept whole, and ids stay as they are: %s", error)
        return {}
    steps: dict[str, Callable[[], Mapping[str, float]]] = {
        "input log": partial(_forget_unread, lake, config, key, dry_run)
    }
    if key is not None:
        steps["ids"] = partial(_rename_users, lake, config, key, dry_run)
    return steps


def _forget_unread(lake: Lake, config: Config, key: bytes | None, dry_run: bool) -> dict[str, float]:
    settings = settings_key(config.prepare, key)
    gone = forget_unread(lake, "events", config.sources.events, settings, dry_run)
    return {"files_forgotten": gone.files, "rows_forgotten": gone.rows}


def _rename_users(lake: Lake, config: Config, key: bytes, dry_run: bool) -> dict[str, float]:
    renamed = rename_users(lake, config.prepare, key, dry_run)
    return {"tables_with_raw_ids": renamed.tables, "rows_with_raw_ids": renamed.rows}


def _sweep_vectors(
    lake: Lake, nights: RetainedNights, fingerprint: str, now: datetime, retention: timedelta, dry_run: bool
) -> dict[str, float]:
    if not lake.exists(Tables.EMBEDDINGS):
        return {}
    encoders = encoders_in_use(lake, nights, fingerprint)
    swept = sweep(lake, keys_of(texts_in_use(lake, nights), encoders), now, retention, dry_run)
    return {
        "encoders_in_use": len(encoders),
        "stored": swept.stored,
        "unused": swept.unused,
        "marked": swept.marked,
        "reclaimed": swept.reclaimed,
        "removed": swept.removed,
        "rows_removed": swept.removed_rows,
    }


def _compact(lake: Lake, nights: RetainedNights, dry_run: bool) -> dict[str, float]:
    chosen = dict.fromkeys(_APPENDED, "") | dict.fromkeys(_DATED, nights.outside)
    made = [compact(lake, name, where, dry_run) for name, where in chosen.items() if lake.exists(name)]
    merged = sum(each.small if dry_run else each.removed for each in made)
    return {"small_files_merged": merged, "files_written": sum(each.added for each in made)}


def _vacuum(lake: Lake, retention: timedelta, dry_run: bool) -> int:
    names = dict.fromkeys((*_APPENDED, *_DATED, *_REPLACED, *_purged(lake)))
    return sum(vacuum(lake, name, retention, dry_run) for name in names if lake.exists(name))


def _purged(lake: Lake) -> list[str]:
    """Return the tables from which users were deleted: their old files must go wherever they are, such as datasets."""
    if not lake.exists(Tables.FORGET_CERTIFICATES):
        return []
    names = lake.read(Tables.FORGET_CERTIFICATES).select(F.explode(F.map_keys("tables")).alias("name"))
    return sorted(row.name for row in names.distinct().collect())
