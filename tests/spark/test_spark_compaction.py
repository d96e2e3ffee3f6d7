"""Merging small files and deleting unneeded ones, on real Delta tables."""

import logging
from datetime import date, timedelta

import pytest

from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.maintain import compaction
from recsys_batch.spark.maintain.compaction import Compaction, compact, parse_interval, small_files, vacuum

D1, D2 = date(2026, 6, 29), date(2026, 6, 30)
TYPES = {"ds": "date", "v": "int"}
WEEK = timedelta(days=7)


@pytest.fixture
def lake(spark, tmp_path):
    """A lake whose path must be written percent-encoded in a URI."""
    return Lake.at(spark, str(tmp_path / "my lake 茶"))


@pytest.fixture
def table(lake, frame):
    """Three small files of D1, two of D2."""
    lake.ensure("t", "ds DATE, v INT", ("ds",))
    for value, ds in enumerate((D1, D1, D1, D2, D2)):
        lake.append_once("t", frame(TYPES, [{"ds": ds, "v": value}]).coalesce(1), f"txn {value}")
    return "t"


def rows_of(lake, version=None):
    return sorted((row.ds, row.v) for row in lake.read("t", version).collect())


ROWS = [(D1, 0), (D1, 1), (D1, 2), (D2, 3), (D2, 4)]


def test_small_files_become_one_a_partition_and_no_row_changes(lake, table):
    assert small_files(lake, table) == 5
    before = lake.latest_version(table)
    assert compact(lake, table, dry_run=True) == Compaction(small=5)
    assert lake.latest_version(table) == before
    assert compact(lake, table) == Compaction(small=5, removed=5, added=2)
    assert rows_of(lake) == ROWS
    assert len(lake.read(table).inputFiles()) == 2
    # The version before can still be read, and there is nothing more to do.
    assert rows_of(lake, before) == ROWS
    version = lake.latest_version(table)
    assert compact(lake, table) == Compaction()
    assert lake.latest_version(table) == version


def test_only_the_partitions_asked_for(lake, table):
    assert compact(lake, table, f"ds < DATE'{D2}'") == Compaction(small=3, removed=3, added=1)
    assert len(lake.read(table).inputFiles()) == 3
    assert rows_of(lake) == ROWS


def test_large_files_are_left_alone(lake, table, monkeypatch):
    monkeypatch.setattr(compaction, "SMALL_BYTES", 100)
    assert compact(lake, table) == Compaction()


def test_a_named_commit_is_not_repeated_after_compaction(lake, table, frame):
    compact(lake, table)
    lake.append_once(table, frame(TYPES, [{"ds": D1, "v": 0}]), "txn 0")
    assert rows_of(lake) == ROWS


def set_retention(lake, hours):
    property_of = f"'delta.deletedFileRetentionDuration' = 'interval {hours} hours'"
    lake.spark.sql(f"ALTER TABLE delta.`{lake.path('t')}` SET TBLPROPERTIES ({property_of})")


@pytest.mark.long
def test_vacuum_deletes_what_the_tables_own_retention_lets_go(lake, table):
    compact(lake, table)
    assert vacuum(lake, table, WEEK) == 0
    set_retention(lake, 0)
    version = lake.latest_version(table)
    assert vacuum(lake, table, timedelta(), dry_run=True) == 5
    assert lake.latest_version(table) == version
    assert vacuum(lake, table, timedelta()) == 5
    assert rows_of(lake) == ROWS
    # What is left is needed: no further commit.
    version = lake.latest_version(table)
    assert vacuum(lake, table, timedelta()) == 0
    assert lake.latest_version(table) == version


def test_a_table_that_keeps_its_files_too_short_is_not_vacuumed(lake, table, caplog):
    compact(lake, table)
    set_retention(lake, 1)
    with caplog.at_level(logging.WARNING, logger="recsys_batch.night"):
        assert vacuum(lake, table, timedelta(hours=36)) == 0
    assert "t: not vacuumed" in caplog.text
    assert "'interval 36 hours'" in caplog.text
    assert rows_of(lake, 5) == ROWS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval 168 hours", WEEK),
        ("INTERVAL 1 WEEK", WEEK),
        ("2 days 12 hours", timedelta(days=2, hours=12)),
        ("interval 0 seconds", timedelta()),
        ("interval 1 month", None),
        ("interval", None),
        ("", None),
    ],
)
def test_intervals(text, expected):
    assert parse_interval(text) == expected
