"""Nights that go on from what earlier runs of the date left: what they publish, and from whose tables."""

import shutil
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from recsys_batch.report.summary import RunSummary
from tests.e2e.test_night import TABLES, content_of, read

pytestmark = pytest.mark.long


@pytest.fixture
def lake_copy(published: tuple[Path, RunSummary], tmp_path: Path) -> Path:
    """The published lake, to be changed."""
    return Path(shutil.copytree(published[0], tmp_path / "copy"))


def test_a_resumed_night_publishes_what_a_whole_one_does(spark, lake_copy: Path, night) -> None:
    changes = ("rerank.category_cap=1", "retrieve.content.weight=0.1")
    night(*changes, lake=lake_copy, force=True, resume=True)
    resumed = {table: content_of(spark, lake_copy, table) for table in TABLES}
    whole = night(*changes, lake=lake_copy, force=True)
    assert list(whole.stages) == ["prepare", "encode", "retrieve", "rank", "publish"]
    assert {table: content_of(spark, lake_copy, table) for table in TABLES} == resumed


def test_a_run_goes_on_from_its_own_tables_not_from_those_of_a_later_run(spark, lake_copy: Path, night) -> None:
    """Another run of the date, under another rule, prepared its tables after the first one had."""
    before = {table: content_of(spark, lake_copy, table) for table in TABLES}
    mine = night(lake=lake_copy, stage="prepare")
    other = night("rerank.where=price > 20", lake=lake_copy, stage="prepare")
    eligible = {
        run_id: read(spark, lake_copy, "items").where((F.col("run_id") == run_id) & F.col("eligible")).count()
        for run_id in (mine.run_id, other.run_id)
    }
    assert eligible[other.run_id] < eligible[mine.run_id]
    resumed = night(lake=lake_copy, force=True, resume=True)
    # The run that published the date has finished all stages; what it staged is its release's.
    assert set(resumed.reused) == {"prepare", "encode", "retrieve"}
    assert other.run_id not in resumed.reused.values()
    assert {table: content_of(spark, lake_copy, table) for table in TABLES} == before
    for candidates in (lake_copy / "runs").glob("*/candidates"):
        shutil.rmtree(candidates)
    again = night(lake=lake_copy, force=True, resume=True)
    # Some of its files are gone and made again; the tables of prepare still stand.
    assert set(again.reused) == {"prepare", "encode"}
    assert {table: content_of(spark, lake_copy, table) for table in TABLES} == before
