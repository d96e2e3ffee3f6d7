"""Publish: staged slices become the published tables of a `ds`, in an order that a crash at any point cannot spoil.

1. The run's rows stand staged, audited, under its run_id.
2. `publications` is moved from the release it read to this one by a single compare-and-swap commit: one publisher wins.
3. Each table's `ds` is replaced in one commit, each commit named by the release, so repeating it changes nothing.
4. One row is appended to `releases`, once.
A run that finds step 2 without step 4 repeats 3 and 4 for the crashed run before it does anything else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from functools import reduce
from typing import Any

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Lists, Tables
from recsys_batch.contracts.errors import AnotherPublisherWonError, StagedRowsMissingError
from recsys_batch.contracts.gates import Check
from recsys_batch.contracts.schemas import (
    LIST_COMMENT,
    LIST_COMMENTS,
    LIST_NULLABLE,
    PUBLICATIONS_DDL,
    QUALITY_METRICS_DDL,
    RELEASES_DDL,
)
from recsys_batch.contracts.standing import standing_release
from recsys_batch.spark.lake.runs import newest_run
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import make_frame

ROLLBACK = "rollback"
"""The action of a release that brings an earlier one back."""
# Bounds of user ids would stay in Delta's log after a user is forgotten.
BOUNDED = {Tables.USER_RECOMMENDATIONS: ("rank", "item_id", "score")}


@dataclass(frozen=True)
class Release:
    """One row of `releases`, before the table versions are known."""

    release_id: str
    ds: date
    run_id: str
    action: str
    row_counts: Mapping[str, int]
    gates: tuple[Check, ...]
    input_versions: Mapping[str, str]
    config_hash: str
    code_version: str
    model_versions: Mapping[str, str]
    replaces: str | None
    lists: tuple[str, ...]
    prepared_run: str | None = None
    """The run whose prepared tables the rows rest on; None: the run's own."""


def staged_name(table: str) -> str:
    """Return the folder of a table's staged slices."""
    return f"staged/{table}"


def stage_rows(lake: Lake, table: str, ranked: DataFrame, ds: date, run_id: str, model_version: str) -> None:
    """Write the ranked rows (`contracts.schemas.RANKED`, and of user lists `arm` where there are any) as the run's
    slice.
    """
    arm = F.col("arm") if "arm" in ranked.columns else F.lit(None).cast("string")
    rows = ranked.select(
        F.lit(ds).alias("ds"),
        F.col("key").alias(Lists.KEY[table]),
        "rank",
        F.col("item").alias(Lists.ITEM[table]),
        "score",
        "sources",
        "reason",
        F.lit(model_version).alias("model_version"),
        F.lit(run_id).alias("run_id"),
        *([arm.alias("arm")] if table == Tables.USER_RECOMMENDATIONS else []),
    )
    lake.replace_slice(staged_name(table), rows, f"run_id = '{run_id}'", ("run_id",))


def read_staged(lake: Lake, table: str, run_id: str) -> DataFrame:
    """Return the staged slice of one run."""
    return lake.read(staged_name(table)).where(F.col("run_id") == run_id)


def count_staged(slices: Mapping[str, DataFrame]) -> dict[str, int]:
    """Count the rows of several tables' slices (`read_staged`) in one job."""
    counted = [rows.agg(F.count("*").alias("rows")).withColumn("table", F.lit(table)) for table, rows in slices.items()]
    united = reduce(DataFrame.union, counted)
    return {row.table: int(row.rows) for row in united.collect()}


def latest_release(lake: Lake, ds: date) -> Row | None:
    """Return the `releases` row of the `ds` that stands, or None.

    Which it is says the row of `publications`, which every publisher moves on by compare and swap; no driver's clock
    decides. Of a publication that was cut short the release before it stands.
    """
    if not lake.exists(Tables.RELEASES):
        return None
    releases = lake.read_ds(Tables.RELEASES, ds).collect()
    return standing_release(releases, _claim_of(lake, ds) if releases else None)


def describe_release(release: Row) -> str:
    """Say how the rows of a release (a row of `releases`) came to stand."""
    by = "rolled back to" if release.action == ROLLBACK else "published by"
    return f"{by} run {release.run_id}"


def standing_runs(lake: Lake, before: date) -> dict[date, str]:
    """Return the run of the release that stands, of every published date before `before`."""
    standing, _ = standing_releases(lake, F.col("ds") < F.lit(before))
    return {ds: str(row.run_id) for ds, row in standing.items()}


def standing_releases(lake: Lake, where: Column) -> tuple[dict[date, Row], set[date]]:
    """Return the release that stands (without its gates) of each published date, and dates with an unfinished claim.

    `where` is a predicate on `ds`. As `latest_release` and `unfinished_claim`, for many dates in two reads.
    """
    releases: dict[date, list[Row]] = {}
    if lake.exists(Tables.RELEASES):
        for row in lake.read(Tables.RELEASES).where(where).drop("gates").collect():
            releases.setdefault(row.ds, []).append(row)
    claims: dict[date, Row] = {}
    if lake.exists(Tables.PUBLICATIONS):
        rows = lake.read(Tables.PUBLICATIONS).where(where).select("ds", "release_id", "replaces").collect()
        claims = {row.ds: row for row in rows}
    standing = {ds: standing_release(rows, claims.get(ds)) for ds, rows in releases.items()}
    known = {row.release_id for rows in releases.values() for row in rows}
    unfinished = {ds for ds, claim in claims.items() if claim.release_id not in known}
    return {ds: row for ds, row in standing.items() if row is not None}, unfinished


def _claim_of(lake: Lake, ds: date) -> Row | None:
    return lake.read_ds(Tables.PUBLICATIONS, ds).first() if lake.exists(Tables.PUBLICATIONS) else None


def unfinished_claim(lake: Lake, ds: date) -> Row | None:
    """Return the row of `publications` of a date whose publication is under way or was cut short, else None."""
    claim = _claim_of(lake, ds)
    return None if claim is None or _is_released(lake, ds, claim.release_id) else claim


def prepared_run(lake: Lake, ds: date) -> str | None:
    """Return the run whose prepared tables are those of the date: its release's, else the newest run's; None: none."""
    release = latest_release(lake, ds)
    if release is None:
        return newest_run(lake, ds, "prepare")
    return prepared_by(release)


def prepared_by(release: Row) -> str:
    """Return the run whose prepared tables a release (a row of `releases` or `publications`) rests on."""
    # One of an older version names none: it prepared its tables itself.
    return str(release.asDict().get("prepared_run") or release.run_id)


def released_runs(lake: Lake, ds: date) -> set[str]:
    """Return the runs of the date's releases."""
    if not lake.exists(Tables.RELEASES):
        return set()
    return {row.run_id for row in lake.read_ds(Tables.RELEASES, ds).select("run_id").collect()}


def record_checks(lake: Lake, ds: date, run_id: str, stage_name: str, checks: Iterable[Check]) -> None:
    """Append the checks to `quality_metrics`, once per run and stage, failed ones too."""
    rows = [(ds, run_id, c.table, c.check, c.value, c.threshold, c.verdict) for c in checks]
    frame = make_frame(lake.spark, rows, QUALITY_METRICS_DDL)
    lake.append_once(Tables.QUALITY_METRICS, frame, f"{run_id}-{stage_name}", ("ds",))


def publish(lake: Lake, release: Release) -> Row:
    """Publish the staged, audited slices of `release.run_id`; return the `releases` row.

    Raises AnotherPublisherWonError where the `ds` has moved on from `release.replaces` since the run began, and
    StagedRowsMissingError, before anything is claimed, where a slice is not what the release counts.
    """
    staged = _staged_rows(lake, release)
    _claim(lake, release)
    return _complete(lake, release, staged)


def roll_forward(lake: Lake, ds: date) -> str | None:
    """Finish a publication of the `ds` that a crash cut short; return its run_id, or None where there is none."""
    claim = unfinished_claim(lake, ds)
    if claim is None:
        return None
    release = release_from(claim)
    _complete(lake, release, _staged_rows(lake, release))
    return str(claim.run_id)


def give_up_claim(lake: Lake, ds: date) -> None:
    """Set a publication of the `ds` that was cut short, and whose staged rows are gone, back to the release before it.

    Raises AnotherPublisherWonError where another run has moved on meanwhile.
    """
    claim = unfinished_claim(lake, ds)
    if claim is None:
        return
    standing = latest_release(lake, ds)
    if standing is None:
        same = (F.col("ds") == F.lit(ds)) & (F.col("release_id") == claim.release_id)
        DeltaTable.forPath(lake.spark, lake.path(Tables.PUBLICATIONS)).delete(same)
    else:
        _claim(lake, replace(release_from(standing), replaces=claim.release_id, lists=tuple(standing.tables)))


def read_release(lake: Lake, release: Row, table: str) -> DataFrame:
    """Return the rows that a release (a row of `releases`) published: as they stand, else as of its version.

    Of an old release Delta may have forgotten the version, or `maintain` have merged its files; its rows still stand
    where no later release of the date replaced them.
    """
    now = lake.read_ds(table, release.ds, lake.latest_version(table)).where(F.col("run_id") == release.run_id)
    return lake.read_ds(table, release.ds, release.tables[table]) if now.isEmpty() else now


def _staged_rows(lake: Lake, release: Release) -> dict[str, DataFrame]:
    """Return the release's slices at the versions of now, so that what is removed meanwhile is still read."""
    names = {table: staged_name(table) for table in release.lists}
    of_run = F.col("run_id") == release.run_id
    staged = {table: lake.read(name, lake.latest_version(name)).where(of_run) for table, name in names.items()}
    for table, number in count_staged(staged).items():
        # An empty slice would wipe the date.
        if number != release.row_counts[table]:
            raise StagedRowsMissingError(
                f"{lake.path(names[table])}: run {release.run_id} has {number} rows, its release counts "
                f"{release.row_counts[table]}; nothing more was published. Where the rows were deleted, an older "
                "version of this table (versionAsOf) has them; else run the night again with --force"
            )
    return staged


def _claim(lake: Lake, release: Release) -> None:
    """Compare and swap: the one row of the `ds` moves from the release that was read to the new one."""
    source = make_frame(lake.spark, [_claim_row(release)], PUBLICATIONS_DDL)
    if lake.create(Tables.PUBLICATIONS, source, ("ds",)):
        return
    lake.ensure(Tables.PUBLICATIONS, PUBLICATIONS_DDL, ("ds",))
    target = DeltaTable.forPath(lake.spark, lake.path(Tables.PUBLICATIONS)).alias("t")
    # The literal ds in the condition keeps publishers of different dates out of each other's way.
    same_ds = f"t.ds = DATE'{release.ds.isoformat()}' AND s.ds = t.ds"
    try:
        (
            target.merge(source.alias("s"), same_ds)
            .whenMatchedUpdateAll(condition="t.release_id <=> s.replaces")
            .whenNotMatchedInsertAll(condition="s.replaces IS NULL")
            .execute()
        )
    except (PySparkException, Py4JJavaError) as error:
        if "Concurrent" not in str(error) and "DELTA_CONCURRENT" not in str(error):
            raise
    holder = lake.read_ds(Tables.PUBLICATIONS, release.ds).first()
    if holder is None or holder.release_id != release.release_id:
        other = "another run" if holder is None else f"release {holder.release_id} of run {holder.run_id}"
        raise AnotherPublisherWonError(
            f"ds {release.ds}: {other} was published since run {release.run_id} began; its tables stand. "
            "Run again with --force to replace them"
        )


def _complete(lake: Lake, release: Release, staged: Mapping[str, DataFrame]) -> Row:
    versions: dict[str, int] = {}
    for table, rows in {**staged, **_left_over(lake, release)}.items():
        txn = f"{release.release_id}:{table}"
        # In a list of similar items the key is the item.
        comments = LIST_COMMENTS | ({"item_id": "item that is looked at"} if table == Tables.SIMILAR_ITEMS else {})
        lake.create_documented(
            table, rows.schema, LIST_COMMENT, comments, ("ds",), LIST_NULLABLE, BOUNDED.get(table, ())
        )
        lake.replace_ds(table, rows, release.ds, txn)
        versions[table] = lake.version_written_by(table, txn)
    counts = {table: release.row_counts.get(table, 0) for table in versions}
    row = _release_row(replace(release, row_counts=counts), versions)
    lake.append_once(Tables.RELEASES, make_frame(lake.spark, [row], RELEASES_DDL), release.release_id)
    published = lake.read_ds(Tables.RELEASES, release.ds).where(F.col("release_id") == release.release_id).first()
    assert published is not None  # appended above, by this run or by one that rolled it forward  # noqa: S101
    return published


def _left_over(lake: Lake, release: Release) -> dict[str, DataFrame]:
    """Return no rows for each list table of which an older release of the date has rows and this one makes none.

    Who reads the date must not find an item there that this release was made to take out.
    """
    others = [table for table in Lists.KEY if table not in release.lists and lake.exists(table)]
    rows = {table: lake.read_ds(table, release.ds) for table in others}
    return {table: of_date.limit(0) for table, of_date in rows.items() if not of_date.isEmpty()}


def _is_released(lake: Lake, ds: date, release_id: str) -> bool:
    if not lake.exists(Tables.RELEASES):
        return False
    return not lake.read_ds(Tables.RELEASES, ds).where(F.col("release_id") == release_id).isEmpty()


def _release_row(release: Release, versions: Mapping[str, int]) -> dict[str, object]:
    return {
        "release_id": release.release_id,
        "ds": release.ds,
        "run_id": release.run_id,
        "action": release.action,
        # When it happened, for people; the business date is ds.
        "published_at": datetime.now(UTC),
        "tables": dict(versions),
        "row_counts": dict(release.row_counts),
        "gates": [asdict(check) for check in release.gates],
        "input_versions": dict(release.input_versions),
        "config_hash": release.config_hash,
        "code_version": release.code_version,
        "model_versions": dict(release.model_versions),
        "replaces": release.replaces,
        "prepared_run": release.prepared_run or release.run_id,
    }


def _claim_row(release: Release) -> dict[str, object]:
    return _release_row(release, {}) | {"lists": list(release.lists)}


def release_from(row: Row) -> Release:
    """Return the release that a row of `publications` or `releases` describes; one of `releases` names no `lists`."""
    values = row.asDict(recursive=True)
    gates = tuple(Check(**gate) for gate in values["gates"])
    # An older version's claims lack some.
    known: dict[str, Any] = {name: values.get(name) for name in Release.__dataclass_fields__ if name != "gates"}
    return replace(Release(**known, gates=gates), lists=tuple(values.get("lists") or ()))
