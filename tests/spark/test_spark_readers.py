"""Files of every shape and name: a night that reads only new ones has the rows of one that reads all."""

import gzip
from datetime import date

import pytest

from recsys_batch.contracts.config.night import Source
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError, SourceColumnsError
from recsys_batch.spark.causes import naming_causes
from recsys_batch.spark.inputs.input_log import read_new, read_whole
from recsys_batch.spark.inputs.sources import read_table

DS = date(2026, 6, 30)
TIME = "2026-06-29 10:00:00"
SELECT = {"user_id": "user", "event_type": "'view'", "event_time": f"TIMESTAMP'{TIME}'", "item_id": "item"}
EVENTS = [("u1", "A"), ("u2", "B"), ("u3", "C"), ("u4", "D")]


def plain(raw):
    """A normalization that keeps every column: what is tested here is which rows come."""
    return raw.drop("_kept")


def source(path, form="csv", **changes):
    options = {"header": "true"} if form == "csv" else {}
    return Source(**{"format": form, "path": str(path), "options": options, "select": SELECT} | changes)


def rows_of(reading, *columns):
    return sorted(tuple(row) for row in reading.rows.select("user_id", "item_id", *columns).collect())


def nights(spark, lake, made, *writes, columns=()):
    """Write files night by night; after each, the incremental and the full read must have the same rows."""
    for write in writes:
        write()
        new = rows_of(read_new(lake, "events", [made], DS, plain, ""), *columns)
        assert new == rows_of(read_whole(spark, "events", [made], DS, plain), *columns)
    return new


def csv(path, *rows, header="user,item"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")


def parquet(spark, path, user, item, kind="STRING"):
    spark.sql(f"SELECT '{user}' AS user, CAST('{item}' AS {kind}) AS item").coalesce(1).write.parquet(str(path))


@pytest.mark.parametrize(("form", "glob"), [("csv", "*.csv"), ("csv", "folder"), ("parquet", "day=*")])
def test_one_or_several_new_matches_of_a_path(spark, lake, tmp_path, form, glob):
    folder = tmp_path / "log"

    def write(*numbers):
        for n in numbers:
            name = f"d{n}.{form}" if "*." in glob else f"day=2026-06-2{n}"
            user, item = EVENTS[n - 1]
            if form == "parquet":
                parquet(spark, folder / name, user, item)
            else:
                csv(folder / name if "*." in glob else folder / name / "x.csv", (user, item))

    made = source(folder if glob == "folder" else folder / glob.format(form=form), form)
    assert nights(spark, lake, made, lambda: write(1), lambda: write(2, 3), lambda: write(4)) == EVENTS


def test_columns_of_csv_files_go_by_name(spark, lake, tmp_path):
    """A later export has them in another order, one has a column more, one lacks one."""
    made = source(tmp_path / "log", select=SELECT | {"domain": "shop"})
    found = nights(
        spark,
        lake,
        made,
        lambda: csv(tmp_path / "log/1.csv", ("u1", "A", "de"), header="user,item,shop"),
        lambda: (
            csv(tmp_path / "log/2.csv", ("B", "u2", "x", "at"), header="item,user,new,shop"),
            csv(tmp_path / "log/3.csv", ("u3", "C"), header="user,item"),
        ),
        lambda: csv(tmp_path / "log/4.csv", ("u4", "D"), header="user,item"),
        columns=("domain",),
    )
    assert found == [("u1", "A", "de"), ("u2", "B", "at"), ("u3", "C", None), ("u4", "D", None)]


def test_a_declared_schema_goes_by_the_names_of_the_header(spark, tmp_path):
    csv(tmp_path / "a.csv", ("A", "7", "u1"), header="item,n,user")
    made = source(
        tmp_path / "a.csv", schema_ddl="user STRING, item STRING, n INT", select=SELECT | {"position": "n + 1"}
    )
    (row,) = read_table(spark, "events", [made], DS).collect()
    assert (row.user_id, row.item_id, row.position) == ("u1", "A", 8)
    lacks = source(tmp_path / "a.csv", schema_ddl="user STRING, thing STRING", select=SELECT | {"item_id": "thing"})
    with pytest.raises(SourceColumnsError, match=r"`thing`.*the file's columns are: item, n, user"):
        read_table(spark, "events", [lacks], DS)


def test_a_files_name_is_a_name(spark, lake, tmp_path):
    names = ["events[1].csv", "a{b,c}.csv", "what?.csv", "a*b.csv", "blank and %20.csv", "日志.csv"]
    users = [(f"u{n}", name) for n, name in enumerate(["other", *names])]

    def write(first, last):
        for user, name in users[first:last]:
            csv(tmp_path / "log" / name, (user, "A"))

    found = nights(spark, lake, source(tmp_path / "log"), lambda: write(0, 2), lambda: write(2, 7))
    assert found == [(user, "A") for user, _ in users]


def test_partition_values_are_text(spark, lake, tmp_path):
    made = source(tmp_path / "log", select=SELECT | {"item_id": "sku"})
    found = nights(
        spark,
        lake,
        made,
        lambda: csv(tmp_path / "log/sku=00100/a.csv", ("u1",), header="user"),
        lambda: csv(tmp_path / "log/sku=A1/a.csv", ("u2",), header="user"),
    )
    assert found == [("u1", "00100"), ("u2", "A1")]


def test_other_folders_below_a_folder_are_not_its_files(spark, lake, tmp_path):
    found = nights(
        spark,
        lake,
        source(tmp_path / "log"),
        lambda: (csv(tmp_path / "log/a.csv", ("u1", "A")), csv(tmp_path / "log/archive/z.csv", ("u9", "Z"))),
        lambda: (csv(tmp_path / "log/b.csv", ("u2", "B")), csv(tmp_path / "log/archive/y.csv", ("u8", "Y"))),
    )
    assert found == EVENTS[:2]


def test_a_type_that_changes_from_file_to_file(spark, lake, tmp_path):
    def write(n, item, kind):
        parquet(spark, tmp_path / f"log/d{n}", f"u{n}", item, kind)

    found = nights(
        spark,
        lake,
        source(tmp_path / "log/d*", "parquet"),
        lambda: (write(1, "17", "INT"), write(2, "18", "BIGINT"), write(3, "19", "DOUBLE")),
        lambda: write(4, "0020", "STRING"),
    )
    assert found == [("u1", "17"), ("u2", "18"), ("u3", "19"), ("u4", "0020")]


def test_an_empty_file_has_no_rows_until_it_is_written(spark, lake, tmp_path):
    def empty(name):
        (tmp_path / "log").mkdir(exist_ok=True)
        (tmp_path / "log" / name).write_bytes(b"")

    made = source(tmp_path / "log")
    empty("0.csv")
    with pytest.raises(InputNotReadyError, match=r"0\.csv has 0 bytes; retry when it has been written") as caught:
        read_new(lake, "events", [made], DS, plain, "")
    assert caught.value.exit_code == 10
    found = nights(
        spark,
        lake,
        made,
        lambda: csv(tmp_path / "log/1.csv", ("u1", "A")),
        lambda: empty("2.csv"),
        lambda: csv(tmp_path / "log/2.csv", ("u2", "B")),
    )
    assert found == EVENTS[:2]


def test_a_file_that_breaks_off_is_named(spark, lake, tmp_path):
    whole = gzip.compress(b"user,item\n" + b"".join(b"u%d,A\n" % n for n in range(50_000)))
    (tmp_path / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    expected = pytest.raises(InputNotReadyError, match=r"a\.csv\.gz: cannot be read to its end.*retry")
    with expected as caught, naming_causes():
        read_new(lake, "events", [source(tmp_path / "a.csv.gz")], DS, plain, "")
    assert caught.value.exit_code == 10
    for n in (1, 2):
        (tmp_path / f"{n}.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputNotReadyError, match=r"1\.parquet: is no Parquet file"):
        read_table(spark, "events", [source(tmp_path / "*.parquet", "parquet")], DS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"header": "true", "sep": ""}, "Delimiter cannot be empty"),
        ({"header": "ja"}, "ja"),
        ({"header": "true", "maxColumns": "many"}, "many"),
        ({"header": "true", "encoding": "klingon"}, "klingon"),
    ],
)
def test_options_that_a_reader_refuses_are_a_fault_of_the_config(spark, tmp_path, options, said):
    csv(tmp_path / "a.csv", ("u1", "A"))
    with pytest.raises(ConfigError, match=rf"sources\.events\.0.*{said}") as caught:
        read_table(spark, "events", [source(tmp_path / "a.csv", options=options)], DS)
    assert caught.value.exit_code == 2


def test_a_delta_source_is_read_at_the_version_that_was_listed(spark, lake, tmp_path, monkeypatch):
    from recsys_batch.spark.inputs import input_log

    table = str(tmp_path / "delta")
    for user, item in EVENTS[:2]:
        spark.sql(f"SELECT '{user}' AS user, '{item}' AS item").coalesce(1).write.format("delta").mode("append").save(
            table
        )
    listed = input_log.files_of

    def then_optimized(*args):
        files = listed(*args)
        spark.sql(f"OPTIMIZE delta.`{table}`")
        return files

    monkeypatch.setattr(input_log, "files_of", then_optimized)
    made = source(table, "delta")
    assert rows_of(read_new(lake, "events", [made], DS, plain, "")) == EVENTS[:2]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_local_file_that_hadoop_cannot_open_is_named(spark, tmp_path, form):
    (tmp_path / "2024:05.csv").write_text("user,item\nu,A\n")
    with pytest.raises(ConfigError, match=r"sources\.events\.0\.path: .*2024:05\.csv: .*colon.*rename it"):
        read_table(spark, "events", [source(tmp_path, form)], DS)
