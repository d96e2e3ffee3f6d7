import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from recsys_batch.spark.lake.tables import Lake

D1, D2 = date(2026, 6, 29), date(2026, 6, 30)
TYPES = {"ds": "date", "v": "int"}


def rows_of(lake, name="t", version=None):
    return sorted((row.ds, row.v) for row in lake.read(name, version).collect())


def day(frame, ds, *values):
    return frame(TYPES, [{"ds": ds, "v": value} for value in values])


def version_of(lake, name="t"):
    from delta.tables import DeltaTable

    return DeltaTable.forPath(lake.spark, lake.path(name)).history(1).first().version


def test_replacing_a_date_twice_equals_once_and_leaves_the_others_alone(frame, lake):
    lake.replace_ds("t", day(frame, D1, 1, 2), D1)
    lake.replace_ds("t", day(frame, D2, 5), D2)
    lake.replace_ds("t", day(frame, D2, 7, 8), D2)
    lake.replace_ds("t", day(frame, D2, 7, 8), D2)
    assert rows_of(lake) == [(D1, 1), (D1, 2), (D2, 7), (D2, 8)]
    assert [row.v for row in lake.read_ds("t", D1).orderBy("v").collect()] == [1, 2]
    # What stood there can still be read.
    assert rows_of(lake, version=1) == [(D1, 1), (D1, 2), (D2, 5)]
    lake.replace_ds("t", day(frame, D1), D1)
    assert rows_of(lake) == [(D2, 7), (D2, 8)]


def test_rows_of_another_date_are_refused(frame, lake):
    lake.replace_ds("t", day(frame, D1, 1), D1)
    with pytest.raises(Exception, match=r"replaceWhere|REPLACE_WHERE"):
        lake.replace_ds("t", day(frame, D2, 2), D1)
    assert rows_of(lake) == [(D1, 1)]


def test_a_named_commit_happens_once_and_is_found_by_its_name(frame, lake):
    lake.replace_ds("t", day(frame, D1, 1), D1, "first")
    lake.append_once("t", day(frame, D2, 5), "second")
    lake.append_once("t", day(frame, D2, 5), "second")
    assert rows_of(lake) == [(D1, 1), (D2, 5)]
    lake.replace_ds("t", day(frame, D1, 99), D1, "first")
    assert rows_of(lake) == [(D1, 1), (D2, 5)]
    assert version_of(lake) == 1
    lake.replace_ds("t", day(frame, D1, 2), D1, "third")
    assert rows_of(lake) == [(D1, 2), (D2, 5)]
    versions = {txn: lake.version_written_by("t", txn) for txn in ("first", "second", "third", "never")}
    assert versions == {"first": 0, "second": 1, "third": 2, "never": 2}


def test_ensure_makes_an_empty_table_and_leaves_a_full_one(frame, lake):
    assert not lake.exists("t")
    lake.ensure("t", "ds DATE, v INT", ("ds",))
    assert lake.exists("t")
    assert rows_of(lake) == []
    assert lake.read("t").dtypes == [("ds", "date"), ("v", "int")]
    lake.replace_ds("t", day(frame, D1, 1), D1)
    lake.ensure("t", "ds DATE, v INT", ("ds",))
    assert rows_of(lake) == [(D1, 1)]


def test_two_may_ensure_one_table_at_the_same_time(lake):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: lake.ensure("t", "ds DATE, v INT", ("ds",)), range(2)))
    assert rows_of(lake) == []


def test_new_columns_are_added(frame, lake):
    lake.replace_ds("t", day(frame, D1, 1), D1)
    lake.replace_ds("t", frame(TYPES | {"w": "string"}, [{"ds": D2, "v": 2, "w": "x"}]), D2)
    assert sorted(tuple(row) for row in lake.read("t").collect()) == [(D1, 1, None), (D2, 2, "x")]


def test_a_lake_lies_where_its_root_says(spark, frame, tmp_path):
    root = tmp_path / "my lake 茶"
    Lake.at(spark, str(root)).replace_ds("t", day(frame, D1, 1), D1)
    assert (root / "t" / "_delta_log").is_dir()


def test_appending_makes_the_table_and_the_columns_that_it_lacks(frame, lake):
    lake.append("t", day(frame, D1, 1), ("ds",))
    lake.append("t", frame(TYPES | {"w": "string"}, [{"ds": D2, "v": 2, "w": "x"}]), ("ds",))
    lake.append("t", day(frame, D2, 3), ("ds",))
    assert sorted(tuple(row) for row in lake.read("t").collect()) == [(D1, 1, None), (D2, 2, "x"), (D2, 3, None)]
    assert version_of(lake) == 2


def test_two_may_make_one_table_by_appending_at_the_same_time(frame, lake):
    frames = [day(frame, D1, 1), day(frame, D2, 2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda rows: lake.append("t", rows, ("ds",)), frames))
    assert rows_of(lake) == [(D1, 1), (D2, 2)]


def bounds(spark, lake, name):
    log = spark.read.json(f"{lake.path(name)}/_delta_log/*.json").where("add IS NOT NULL")
    return [json.loads(row.add.stats).get("maxValues", {}) for row in log.select("add").collect()]


def test_files_that_others_query_have_bounds_and_internal_ones_have_none(spark, frame, lake):
    lake.replace_ds("published", day(frame, D1, 1, 2).coalesce(1), D1, "release")
    for ds in (D1, D2):
        lake.replace_ds("internal", day(frame, ds, 1, 2).coalesce(1), ds)
        lake.append("log", day(frame, ds, 1, 2).coalesce(1), ("ds",))
    assert bounds(spark, lake, "published") == [{"v": 2}]
    assert bounds(spark, lake, "internal") == [{}, {}]
    assert bounds(spark, lake, "log") == [{}, {}]


def test_writing_internal_tables_at_once_takes_no_bounds_from_published_ones(spark, frame, lake):
    frames = [day(frame, ds, n).coalesce(1) for n in range(4) for ds in (D1, D2)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda rows: lake.append("log", rows, ("ds",)), frames))
        list(
            pool.map(lambda n: lake.replace_ds(f"lists_{n}", frames[n], D1 if n % 2 == 0 else D2, f"txn{n}"), range(4))
        )
    assert [bounds(spark, lake, f"lists_{n}") for n in range(4)] == [[{"v": n // 2}] for n in range(4)]
    lake.replace_ds("after", frames[0], D1, "after")
    assert bounds(spark, lake, "after") == [{"v": 0}]
