"""A published night as readers without Spark have it: delta-rs, Polars, DuckDB, pandas; and with Spark the same."""

import shutil
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from recsys_batch.api import open_lake
from recsys_batch.contracts.columns import Lists
from recsys_batch.contracts.errors import NotPublishedError
from recsys_batch.report.summary import RunSummary
from tests.e2e.conftest import DS

USERS, SIMILAR = "user_recommendations", "similar_items"


def test_every_reader_has_the_rows_that_spark_has(spark, published: tuple[Path, RunSummary]) -> None:
    night = open_lake(str(published[0])).night(DS)
    assert (night.release.ds, night.release.run_id, night.release.action) == (DS, published[1].run_id, "publish")
    assert night.release.tables == published[1].tables
    assert [c for c in night.release.gates if c.table in Lists.KEY] == [
        c for c in published[1].checks if c.table in Lists.KEY
    ]
    assert night.tables == sorted(published[1].tables)
    for table in night.tables:
        key = Lists.KEY[table]
        wanted = [tuple(row)[1:5] for row in night.spark(spark, table).orderBy(key, "rank").collect()]
        arrow = night.arrow(table)
        assert arrow.num_rows == night.release.row_counts[table] == len(wanted) > 0
        assert [tuple(row.values())[1:5] for row in arrow.to_pylist()] == wanted
        assert [row[1:5] for row in night.polars(table).rows()] == wanted
        assert list(night.pandas(table).iloc[:, 1:5].itertuples(index=False, name=None)) == wanted
        lists = arrow  # DuckDB finds it by its name  # noqa: F841
        number = f"SELECT count(*), count(DISTINCT {key}), max(rank) FROM lists"
        assert duckdb.sql(number).fetchall() == [(len(wanted), len({row[0] for row in wanted}), 8)]


def test_one_key_is_read_alone(published: tuple[Path, RunSummary]) -> None:
    night = open_lake(f"file:{published[0]}").night(DS.isoformat())
    everyone = night.polars(USERS)
    user = everyone["user_id"][0]
    assert night.polars(USERS, [user]).equals(everyone.filter(pl.col("user_id") == user))
    assert night.arrow(USERS, ["nobody"]).num_rows == 0


def test_a_night_that_is_published_anew_is_read_as_it_was(
    spark, published: tuple[Path, RunSummary], tmp_path: Path, night
) -> None:
    lake_copy = Path(shutil.copytree(published[0], tmp_path / "copy"))
    before = open_lake(str(lake_copy)).night()
    rows = {table: before.arrow(table) for table in before.tables}
    again = night("rerank.top_n=5", lake=lake_copy, force=True, resume=True)
    assert {table: before.arrow(table) for table in before.tables} == rows
    now = open_lake(str(lake_copy)).night()
    assert (now.release.run_id, now.arrow(USERS)["rank"].to_numpy().max()) == (again.run_id, 5)
    assert before.arrow(USERS, ["nobody"]).num_rows == 0
    assert before.spark(spark, USERS).count() == rows[USERS].num_rows
    # Once vacuumed, the old rows are gone, and a reader is told so.
    for name in spark.read.format("delta").load(f"{lake_copy}/{USERS}").inputFiles():
        assert Path(name.removeprefix("file:")).exists()
    standing = set(spark.read.format("delta").load(f"{lake_copy}/{USERS}").inputFiles())
    for file in (lake_copy / USERS).glob("ds=*/*.parquet"):
        if not any(name.endswith(file.name) for name in standing):
            file.unlink()
    with pytest.raises(
        NotPublishedError, match=f"which release {before.release.release_id} of {DS} published, is gone"
    ):
        before.arrow(USERS)


def test_what_is_not_there_is_said(published: tuple[Path, RunSummary], tmp_path: Path) -> None:
    lake = open_lake(str(published[0]))
    assert lake.dates() == [DS]
    with pytest.raises(NotPublishedError, match=rf"nothing is published for 2020-01-01; the newest date is {DS}"):
        lake.night(date(2020, 1, 1))
    with pytest.raises(NotPublishedError, match=r"request_recommendations: no table of the night"):
        lake.night().arrow("request_recommendations")
    with pytest.raises(NotPublishedError, match="nothing is published here"):
        open_lake(str(tmp_path)).night()
