import gzip
import os
from datetime import date

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.night import Source
from recsys_batch.contracts.errors import SourceColumnsError, SourceNotFoundError
from recsys_batch.spark.inputs.notes import NOTES, NOTES_TYPE
from recsys_batch.spark.inputs.sources import read_table, version_of

DS = date(2026, 6, 30)
SELECT = {"user_id": "u", "event_type": "t", "event_time": "time", "item_id": "i", "quantity": "q"}


def source(path, form="csv", **changes) -> Source:
    options = {"header": "true"} if form == "csv" else {}
    return Source(**{"format": form, "path": str(path), "options": options, "select": SELECT} | changes)


def read(spark, *sources, table="events"):
    return read_table(spark, table, sources, DS)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """One event a file: csv with a header, csv gzipped, json lines; `missing.csv` does not exist."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "a.csv").write_text("u,t,time,i,q\nu-csv,view,2026-06-30 01:02:03.000004,A,1.5\n", encoding="utf-8")
    with gzip.open(folder / "b.csv.gz", "wt", encoding="utf-8") as file:
        file.write("u,t,time,i,q\nu-gzip,cart,2026-06-29T00:00:00Z,B,2\n")
    (folder / "c.json").write_text(
        '{"u": "u-json", "t": "search", "time": "2026-06-30 05:00:00", "i": null, "q": 3}\n'
        '{"u": "u-json2", "t": "view", "time": "soon", "i": "茶", "q": "many"}\n',
        encoding="utf-8",
    )
    return folder


def test_every_format_is_united_into_the_typed_columns(spark, shop, tmp_path):
    one = spark.sql("SELECT 'u-PQ' u, 'view' t, TIMESTAMP'2026-06-30 07:00:00' time, 7 i, 4 q").coalesce(1)
    one.write.parquet(str(tmp_path / "parquet"))
    one.selectExpr("'u-delta' u", "t", "time", "i", "q").write.format("delta").save(str(tmp_path / "delta"))
    united = read(
        spark,
        source(shop / "a.csv"),
        source(shop / "b.csv.gz"),
        source(shop / "c.json", "json"),
        source(tmp_path / "parquet", "parquet"),
        source(tmp_path / "delta", "delta", select=SELECT | {"position": "CAST(q AS STRING)"}),
    )
    assert united.dtypes == [*Inputs.TYPES["events"].items(), ("_kept", "boolean"), (NOTES, NOTES_TYPE)]
    micros = F.date_format("event_time", "yyyy-MM-dd HH:mm:ss.SSSSSS").alias("time")
    rows = united.select("user_id", "event_type", micros, "item_id", "quantity", "position", "query", "_kept").collect()
    assert {tuple(row) for row in rows} == {
        ("u-csv", "view", "2026-06-30 01:02:03.000004", "A", 1.5, None, None, True),
        ("u-gzip", "cart", "2026-06-29 00:00:00.000000", "B", 2.0, None, None, True),
        ("u-json", "search", "2026-06-30 05:00:00.000000", None, 3.0, None, None, True),
        # A time and a number that cannot be read become null; the row stays.
        ("u-json2", "view", None, "茶", None, None, None, True),
        ("u-PQ", "view", "2026-06-30 07:00:00.000000", "7", 4.0, None, None, True),
        ("u-delta", "view", "2026-06-30 07:00:00.000000", "7", 4.0, 4, None, True),
    }
    assert len(rows) == 6


def test_ds_stands_for_the_date_in_path_where_and_select(spark, tmp_path):
    for day in ("2026-06-29", "2026-06-30"):
        (tmp_path / f"{day}.csv").write_text(f"u,t,d\nu1,view,{day}\nu2,view,2026-01-01\n", encoding="utf-8")
    select = {"user_id": "u", "event_type": "t", "event_time": "'{ds} 12:00:00'", "session_id": "d"}
    frame = read(spark, source(tmp_path / "{ds}.csv", where="d = '{ds}'", select=select))
    rows = frame.select("user_id", "session_id", F.unix_seconds("event_time").alias("s"), "_kept").collect()
    noon = 1782820800  # date -u -d '2026-06-30 12:00' +%s
    assert {tuple(row) for row in rows} == {("u1", "2026-06-30", noon, True), ("u2", "2026-01-01", noon, False)}


def test_rows_that_where_leaves_out_stay_and_are_marked(spark, tmp_path):
    (tmp_path / "a.csv").write_text("u,q\npasses,1\nfails,-1\nis-null,\nis-no-number,x\n", encoding="utf-8")
    select = {"user_id": "u", "event_type": "'view'", "event_time": "'2026-06-30'"}
    frame = read(spark, source(tmp_path / "a.csv", where="CAST(q AS DOUBLE) > 0", select=select))
    assert {row.user_id: row["_kept"] for row in frame.select("user_id", "_kept").collect()} == {
        "passes": True,
        "fails": False,
        "is-null": False,
        "is-no-number": False,
    }


def test_lists_and_maps_are_read(spark, tmp_path):
    (tmp_path / "r.csv").write_text("id,basket\nr1,A B\nr2,\n", encoding="utf-8")
    (tmp_path / "i.json").write_text('{"id": 5, "name": "tea", "facts": "{\\"leaf\\": \\"green\\"}", "sold": "no"}\n')
    select = {"request_id": "id", "item_ids": "SPLIT(basket, ' ')"}
    requests = read(spark, source(tmp_path / "r.csv", select=select), table="requests")
    assert [tuple(row) for row in requests.drop(NOTES).orderBy("request_id").collect()] == [
        ("r1", ["A", "B"], None, True),
        ("r2", None, None, True),
    ]
    select = {
        "item_id": "id",
        "title": "name",
        "attributes": "FROM_JSON(facts, 'MAP<STRING,STRING>')",
        "available": "sold",
    }
    item = read(spark, source(tmp_path / "i.json", "json", select=select), table="items").first()
    assert (item.item_id, item.title, item.attributes, item.available) == ("5", "tea", {"leaf": "green"}, False)
    assert item.price is None


def test_a_missing_path_is_named_with_its_place_in_the_config(spark, shop):
    with pytest.raises(SourceNotFoundError, match=r"^sources\.events\.0\.path: nothing at '.*missing\.csv'") as caught:
        read(spark, source(shop / "missing.csv"))
    assert caught.value.exit_code == 10
    with pytest.raises(SourceNotFoundError, match=r"^sources\.events\.1\.path: .*2026-06-30"):
        read(spark, source(shop / "a.csv"), source(shop / "{ds}" / "*.csv"))


@pytest.mark.parametrize(
    "changes",
    [
        {"select": SELECT | {"item_id": "no_such_column"}},
        {"select": SELECT | {"item_id": "UPPER(i"}},
        {"where": "no_such_column > 0"},
        {"where": "q >> > 0"},
    ],
    ids=["select-unknown-column", "select-syntax", "where-unknown-column", "where-syntax"],
)
def test_an_expression_that_does_not_resolve_names_the_columns_of_the_file(spark, shop, changes):
    with pytest.raises(
        SourceColumnsError, match=r"(?s)^sources\.events\.0: .*columns are: u, t, time, i, q$"
    ) as caught:
        read(spark, source(shop / "a.csv", **changes))
    assert caught.value.exit_code == 2


def test_a_schema_that_is_no_ddl_is_an_error_of_the_config(spark, shop):
    with pytest.raises(SourceColumnsError, match=r"^sources\.events\.0"):
        read(spark, source(shop / "a.csv", schema_ddl="u STRING,, t"))


@pytest.mark.parametrize("name", ["with space", "茶叶", "50%25 off"])
def test_a_folder_may_have_any_name(spark, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "a.csv").write_text("u,t,time,i,q\nu1,view,2026-06-30,A,1\n", encoding="utf-8")
    assert read(spark, source(folder)).count() == 1


def test_globs_read_what_they_name(spark, tmp_path):
    for name in ("part-1.csv", "part-2.csv", "part-x.csv"):
        (tmp_path / name).write_text(f"u,t,time,i,q\n{name},view,2026-06-30,A,1\n", encoding="utf-8")
    found = {
        glob: {row.user_id for row in read(spark, source(tmp_path / glob)).select("user_id").collect()}
        for glob in ("part-*.csv", "part-[0-9].csv", "part-{1,x}.csv", "part-?.csv")
    }
    everything = {"part-1.csv", "part-2.csv", "part-x.csv"}
    assert found == {
        "part-*.csv": everything,
        "part-[0-9].csv": {"part-1.csv", "part-2.csv"},
        "part-{1,x}.csv": {"part-1.csv", "part-x.csv"},
        "part-?.csv": everything,
    }


def test_the_version_changes_with_the_files(spark, tmp_path):
    sources = [source(tmp_path / "*.csv"), source(tmp_path / "{ds}.json", "json")]
    (tmp_path / "a.csv").write_text("u\n1\n")
    versions = [version_of(spark, sources, DS), version_of(spark, sources, DS)]
    assert versions[0] == versions[1]
    (tmp_path / "a.csv").write_text("u\n12\n")  # longer
    versions.append(version_of(spark, sources, DS))
    os.utime(tmp_path / "a.csv", (1_700_000_000, 1_700_000_000))  # touched
    versions.append(version_of(spark, sources, DS))
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")  # renamed
    versions.append(version_of(spark, sources, DS))
    (tmp_path / "2026-06-30.json").write_text("{}\n")  # the date's file arrived
    versions.append(version_of(spark, sources, DS))
    (tmp_path / "2026-06-29.json").write_text("{}\n")  # another date's file
    versions.append(version_of(spark, sources, DS))
    assert versions[-1] == versions[-2]
    assert len(set(versions)) == 5
