"""Published nights for people and programs without Spark: `open_lake("lake/demo").night("2026-06-30").pandas(...)`.

A night is read at the table versions that its release names, so that all its tables are of one publication, whatever is
published meanwhile. Needs the extra `read` (delta-rs); Polars and pandas where they are asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys_batch.contracts.columns import Lists, Tables
from recsys_batch.contracts.errors import NotPublishedError
from recsys_batch.contracts.filesystem import arrow_uri
from recsys_batch.contracts.gates import Check
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.contracts.standing import standing_release

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class PublishedRelease:
    """What `releases` says of the publication that stands for a date."""

    release_id: str
    ds: date
    run_id: str
    action: str
    published_at: datetime
    tables: Mapping[str, int]
    """Published table -> Delta version."""
    row_counts: Mapping[str, int]
    gates: Sequence[Check]
    model_versions: Mapping[str, str]


@dataclass(frozen=True)
class Night:
    """The lists of one business date as one release published them."""

    release: PublishedRelease
    root: str = field(repr=False)
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def tables(self) -> list[str]:
        """The list tables of the night."""
        return sorted(self.release.tables)

    def arrow(self, table: str, keys: Iterable[str] | None = None) -> pa.Table:
        """Return the rows of a list table by key and rank; of `keys` alone where some are given.

        Raises NotPublishedError where the night has no such table, or a later release replaced its rows and Delta has
        forgotten the version that had them.
        """
        from deltalake.exceptions import DeltaError

        if table not in self.release.tables:
            raise NotPublishedError(f"{table}: no table of the night of {self.release.ds}; it has {self.tables}")
        column = Lists.KEY[table]
        wanted = self._of_run
        if keys is not None:
            wanted &= pc.field(column).isin(list(keys))
        # As they stand: maintenance merges the files of old versions. A date that is published anew is read as it was.
        version = None if self._stands(table) else self.release.tables[table]
        try:
            rows = self._at(table, version).to_pyarrow_dataset().to_table(filter=wanted)
        except (DeltaError, OSError) as error:
            raise NotPublishedError(
                f"{self.root}/{table}: version {version}, which release {self.release.release_id} of {self.release.ds} "
                f"published, is gone ({error}); read the release that stands now"
            ) from error
        return rows.sort_by([(column, "ascending"), ("rank", "ascending")])

    def pandas(self, table: str, keys: Iterable[str] | None = None) -> "pd.DataFrame":
        """Return the same as a pandas frame."""
        frame: pd.DataFrame = self.arrow(table, keys).to_pandas()
        return frame

    def polars(self, table: str, keys: Iterable[str] | None = None) -> "pl.DataFrame":
        """Return the same as a Polars frame."""
        import polars as pl

        made = pl.from_arrow(self.arrow(table, keys))
        return made if isinstance(made, pl.DataFrame) else made.to_frame()

    def spark(self, spark: "SparkSession", table: str) -> "DataFrame":
        """Return the same as a lazy frame of a session that has Delta Lake."""
        from recsys_batch.spark.lake.tables import Lake
        from recsys_batch.spark.publish.release import read_release

        lake = Lake.at(spark, self.root)
        releases = lake.read_ds(Tables.RELEASES, self.release.ds).collect()
        (release,) = (row for row in releases if row.release_id == self.release.release_id)
        return read_release(lake, release, table)

    @property
    def _of_run(self) -> pc.Expression:
        return (pc.field("ds") == self.release.ds) & (pc.field("run_id") == self.release.run_id)

    def _stands(self, table: str) -> bool:
        """Whether the newest version of the table still has the rows of the release's run."""
        return bool(self._at(table, None).to_pyarrow_dataset().head(1, filter=self._of_run).num_rows)

    def _at(self, table: str, version: int | None) -> "DeltaTable":
        return _delta(f"{self.root}/{table}", self.storage_options, version)


@dataclass(frozen=True)
class PublishedLake:
    """A lake as its readers see it: published nights, nothing else."""

    root: str
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def dates(self) -> list[date]:
        """Return the business dates that a release stands for, oldest first."""
        rows = self._read(Tables.RELEASES, columns=["ds"])
        return sorted(set(rows["ds"].to_pylist())) if rows is not None else []

    def night(self, ds: date | str | None = None) -> Night:
        """Return the night of a date, of the newest one where none is given. Raises NotPublishedError."""
        if ds is None:
            known = self.dates()
            if not known:
                raise NotPublishedError(f"{self.root}: nothing is published here")
            ds = known[-1]
        day = parse_ds(ds) if isinstance(ds, str) else ds
        releases = self._rows(Tables.RELEASES, day)
        claims = self._rows(Tables.PUBLICATIONS, day) if releases else []
        row = standing_release(releases, claims[0] if claims else None)
        if row is None:
            known = self.dates()
            newest = f"; the newest date is {known[-1]}" if known else ""
            raise NotPublishedError(f"{self.root}: nothing is published for {day}{newest}")
        return Night(_release_of(row), self.root, self.storage_options)

    def _rows(self, table: str, ds: date) -> list[dict[str, Any]]:
        rows = self._read(table, ds)
        return rows.to_pylist() if rows is not None else []

    def _read(self, table: str, ds: date | None = None, columns: list[str] | None = None) -> pa.Table | None:
        from deltalake.exceptions import TableNotFoundError

        try:
            found = _delta(f"{self.root}/{table}", self.storage_options).to_pyarrow_dataset()
        except TableNotFoundError:
            return None
        return found.to_table(columns=columns, filter=pc.field("ds") == ds if ds is not None else None)


def open_lake(root: str, storage_options: Mapping[str, str] | None = None) -> PublishedLake:
    """Return the lake at `lake.root`, a folder or URI; `storage_options` are those of delta-rs (keys, region).

    Raises ImportError naming the extra where delta-rs is not installed.
    """
    _import_delta()
    return PublishedLake(_uri(root), dict(storage_options or {}))


def _uri(root: str) -> str:
    uri = arrow_uri(root).rstrip("/")
    # Spark's `file:/path` has one slash.
    return "/" + uri.removeprefix("file:").lstrip("/") if uri.startswith("file:") else uri


def _import_delta() -> "type[DeltaTable]":
    try:
        from deltalake import DeltaTable
    except ImportError:
        raise ImportError("recsys_batch.api reads tables with delta-rs: install the extra `read` (deltalake)") from None
    return DeltaTable


def _delta(uri: str, storage_options: Mapping[str, str], version: int | None = None) -> "DeltaTable":
    return _import_delta()(uri, version=version, storage_options=dict(storage_options) or None)


def _release_of(row: Mapping[str, Any]) -> PublishedRelease:
    return PublishedRelease(
        release_id=row["release_id"],
        ds=row["ds"],
        run_id=row["run_id"],
        action=row["action"],
        published_at=row["published_at"],
        tables=dict(row["tables"]),
        row_counts=dict(row["row_counts"]),
        gates=tuple(Check(**gate) for gate in row["gates"] or ()),
        model_versions=dict(row["model_versions"] or {}),
    )
