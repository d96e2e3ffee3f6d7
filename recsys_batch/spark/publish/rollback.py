"""Rollback: the retained slices of an earlier release are published again, by the protocol of `release`.

A rollback is a release like any other: it is claimed, every table's date is replaced in one commit, one row with the
action `rollback` is appended to `releases`. A driver that is killed in between leaves what a publication would leave,
and the next night or rollback of the date finishes it.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

from pyspark.sql import Row

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import AnotherPublisherWonError, NoEarlierReleaseError, StagedRowsMissingError
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import (
    ROLLBACK,
    Release,
    latest_release,
    prepared_by,
    publish,
    release_from,
    roll_forward,
    staged_name,
    unfinished_claim,
)


@dataclass(frozen=True)
class RolledBack:
    """What stands now, and how that came."""

    release: Row
    """The row of `releases` that stands."""
    state: str
    """`rolled back`, `finished` (a rollback that was cut short) or `already stands`."""


def roll_back(lake: Lake, ds: date, name: str = "") -> RolledBack:
    """Publish the rows of the release `name` of the date again; of the one before that which stands where empty.

    A rollback that was cut short is finished first, and is all that is done where no release is named. "Before" goes by
    what a release replaced when it was first published, so a second rollback goes one further back.

    Raises NoEarlierReleaseError where there is no such release, StagedRowsMissingError where its staged slices are
    gone, AnotherPublisherWonError where another publication of the date is under way, was cut short, or wins meanwhile.
    Nothing is changed then.
    """
    finished = _finish(lake, ds)
    standing = latest_release(lake, ds)
    if standing is None:
        raise NoEarlierReleaseError(f"{Tables.RELEASES}: nothing is published for {ds} in {lake.root}")
    if finished and not name:
        return RolledBack(standing, "finished")
    releases = {row.release_id: row for row in lake.read_ds(Tables.RELEASES, ds).collect()}
    target = _named(releases, name, ds) if name else _before(releases, standing, ds)
    if target.run_id == standing.run_id:
        return RolledBack(standing, "already stands")
    release = _again(target, standing)
    _check_slices(lake, release)
    return RolledBack(publish(lake, release), "rolled back")


def _finish(lake: Lake, ds: date) -> bool:
    claim = unfinished_claim(lake, ds)
    if claim is None:
        return False
    if claim.action != ROLLBACK:
        raise AnotherPublisherWonError(
            f"ds {ds}: run {claim.run_id} is publishing the date, or was cut short while it did; nothing was rolled "
            "back. Where it no longer runs, jobs/nightly.py for the date finishes its publication (with --force it is "
            "given up where its staged rows are gone); then roll back"
        )
    roll_forward(lake, ds)
    return True


def _origin(releases: Mapping[str, Row], row: Row) -> Row:
    """Return the release that first published the rows: a publication has the id of its run."""
    return releases.get(row.run_id, row)


def _before(releases: Mapping[str, Row], standing: Row, ds: date) -> Row:
    before = _origin(releases, standing).replaces
    if before not in releases:
        raise NoEarlierReleaseError(
            f"ds {ds}: release {standing.release_id} of run {standing.run_id} is the oldest; there is nothing to go "
            f"back to. {_known(releases.values())}"
        )
    return _origin(releases, releases[before])


def _named(releases: Mapping[str, Row], name: str, ds: date) -> Row:
    if name not in releases:
        raise NoEarlierReleaseError(f"ds {ds}: no release {name!r} of this date. {_known(releases.values())}")
    return _origin(releases, releases[name])


def _known(releases: Iterable[Row]) -> str:
    ids = [row.release_id for row in sorted(releases, key=lambda row: row.published_at)]
    return f"Its releases: {', '.join(ids)}"


def _again(target: Row, standing: Row) -> Release:
    """Return the release that publishes the target's rows once more, in place of the one that stands."""
    return replace(
        release_from(target),
        # New each time: a commit that bears the name of an earlier one is passed over.
        release_id=f"{target.ds:%Y%m%d}-{ROLLBACK}-{secrets.token_hex(3)}",
        action=ROLLBACK,
        replaces=standing.release_id,
        prepared_run=prepared_by(target),
        lists=tuple(table for table, rows in target.row_counts.items() if rows),
    )


def _check_slices(lake: Lake, release: Release) -> None:
    """Say at once which table has no staged slices at all; `publish` counts the rows of those that have."""
    for table in release.lists:
        if not lake.exists(staged_name(table)):
            raise StagedRowsMissingError(
                f"{lake.path(staged_name(table))}: not there, so nothing of run {release.run_id} can be published "
                "again; nothing was changed"
            )
