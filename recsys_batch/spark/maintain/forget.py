"""Rows of users that asked to be forgotten: deleted from every table, and what rests on their number set right.

Ids come as a frame and go into joins, never into a predicate: Delta writes predicates into its log. The rows are gone
from the newest version of a table at once, and from its files when these are vacuumed.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from functools import partial

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.spark.lake.files import list_folders
from recsys_batch.spark.lake.runs import RUNS
from recsys_batch.spark.lake.tables import STATS_COLUMNS, Lake, retry_conflicts, sql_text
from recsys_batch.spark.publish.release import BOUNDED, staged_name, standing_releases
from recsys_batch.spark.session import make_frame

_USER = "user_id"
_LOG = "_delta_log"
# Folders below the root that hold no tables: what runs work with, and models.
_NO_TABLES = (RUNS, "models")
_DEPTH = 4
_USERS = Tables.USER_RECOMMENDATIONS


def delta_tables(lake: Lake) -> list[str]:
    """Return the names of all Delta tables below the lake's root, sorted."""
    return sorted(_tables_below(lake, "", _DEPTH))


def _tables_below(lake: Lake, name: str, depth: int) -> Iterator[str]:
    folders = list_folders(lake.spark, lake.path(name) if name else lake.root)
    if _LOG in folders:
        yield name
    elif depth:
        for folder in folders:
            if name or folder not in _NO_TABLES:
                yield from _tables_below(lake, f"{name}/{folder}" if name else folder, depth - 1)


def count_rows(lake: Lake, name: str, ids: DataFrame) -> int:
    """Return how many rows of a table are those of the users (`ids`: a column id of all that stands for them)."""
    rows = _of_users(lake, name, ids)
    return rows.count() if rows is not None else 0


def dates_of(lake: Lake, name: str, ids: DataFrame) -> tuple[set[date], set[date]]:
    """Return the dates of which a table has rows of the users, and all dates that it has."""
    rows = _of_users(lake, name, ids)
    if rows is None or "ds" not in rows.columns:
        return set(), set()
    held, every = (frame.select("ds").distinct().collect() for frame in (rows, lake.read(name)))
    return {row.ds for row in held}, {row.ds for row in every}


def delete_rows(lake: Lake, name: str, ids: DataFrame) -> None:
    """Delete the rows of the users, and rewrite files that only mark rows as deleted."""
    column, kind = ("id", "t.kind = 'user' AND ") if name == Tables.ID_INDICES else (_USER, "")

    def delete() -> None:
        target = DeltaTable.forPath(lake.spark, lake.path(name)).alias("t")
        target.merge(ids.alias("s"), f"{kind}t.{column} = s.id").whenMatchedDelete().execute()

    retry_conflicts(delete)
    path = lake.path(name).replace("`", "``")
    retry_conflicts(partial(lake.spark.sql, f"REORG TABLE delta.`{path}` APPLY (PURGE)"))


def keep_users_out_of_bounds(lake: Lake) -> None:
    """Have Delta's log keep no bounds of user ids of a table that an older version made; new ones never have them."""
    for name in (_USERS, staged_name(_USERS)):
        if lake.exists(name):
            (detail,) = DeltaTable.forPath(lake.spark, lake.path(name)).detail().select("properties").collect()
            if (
                STATS_COLUMNS not in detail.properties
                and detail.properties.get("delta.dataSkippingNumIndexedCols") != "0"
            ):
                path = lake.path(name).replace("`", "``")
                bounded = sql_text(",".join(BOUNDED[_USERS]))
                lake.spark.sql(f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ('{STATS_COLUMNS}' = {bounded})")


def settle_releases(lake: Lake) -> int:
    """Have `releases` count the rows that user lists have now, and name the version in which they stand.

    Without that a rollback to a release with fewer rows than it counts would be refused, and a reader by versions would
    still find those who are gone. Returns the number of rows that were changed.
    """
    if not lake.exists(Tables.RELEASES) or not lake.exists(_USERS):
        return 0
    counts = _rows_by_run(lake, staged_name(_USERS)) | _rows_by_run(lake, _USERS)
    standing, unfinished = standing_releases(lake, F.lit(True))
    newest = lake.latest_version(_USERS)
    changed = []
    for row in lake.read(Tables.RELEASES).select("release_id", "ds", "run_id", "tables", "row_counts").collect():
        number = counts.get(row.run_id)
        if number is None or row.row_counts.get(_USERS) in (None, 0, number):
            continue
        stands = row.ds in standing and standing[row.ds].release_id == row.release_id
        tables = {**row.tables, _USERS: newest} if stands else row.tables
        changed.append((row.release_id, {**row.row_counts, _USERS: number}, tables))
    _update(lake, Tables.RELEASES, changed)
    claims = []
    if unfinished:
        rows = lake.read(Tables.PUBLICATIONS).where(F.col("ds").isin(*unfinished)).collect()
        claims = [_with_count(row, counts) for row in rows if row.run_id in counts and _USERS in row.lists]
        _update(lake, Tables.PUBLICATIONS, claims)
    return len(changed) + len(claims)


def _with_count(claim: Row, counts: Mapping[str, int]) -> tuple[str, dict[str, int], dict[str, int]]:
    return claim.release_id, {**claim.row_counts, _USERS: counts[claim.run_id]}, claim.tables


def _rows_by_run(lake: Lake, name: str) -> dict[str, int]:
    if not lake.exists(name):
        return {}
    return {row.run_id: row["count"] for row in lake.read(name).groupBy("run_id").count().collect()}


def _update(lake: Lake, name: str, rows: list[tuple[str, dict[str, int], dict[str, int]]]) -> None:
    if not rows:
        return
    maps = "MAP<STRING, BIGINT>"
    source = make_frame(lake.spark, rows, f"release_id STRING, row_counts {maps}, tables {maps}")

    def update() -> None:
        target = DeltaTable.forPath(lake.spark, lake.path(name)).alias("t")
        merged = target.merge(source.alias("s"), "t.release_id = s.release_id")
        merged.whenMatchedUpdate(set={"row_counts": "s.row_counts", "tables": "s.tables"}).execute()

    retry_conflicts(update)


def _of_users(lake: Lake, name: str, ids: DataFrame) -> DataFrame | None:
    rows = lake.read(name)
    if name == Tables.ID_INDICES:
        return rows.where("kind = 'user'").join(F.broadcast(ids), "id", "left_semi")
    if _USER not in rows.columns:
        return None
    return rows.join(F.broadcast(ids.withColumnRenamed("id", _USER)), _USER, "left_semi")
