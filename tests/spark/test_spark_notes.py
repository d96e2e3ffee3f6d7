"""What is given and cannot be read is told; how a source writes its values can be said."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_batch.contracts.config.night import Source
from recsys_batch.spark.inputs.notes import Noted, count_notes
from recsys_batch.spark.inputs.sources import read_source, read_table
from recsys_batch.spark.session import local_time, with_settings

DS = date(2026, 6, 30)
ITEMS = {"item_id": "id", "title": "title", "price": "price", "available": "stock", "updated_at": "changed"}


@pytest.fixture
def shop(tmp_path):
    """Write a CSV with semicolons, and return the source of it."""

    def write(text, select=ITEMS, **more):
        path = tmp_path / "rows.csv"
        path.write_text(text, encoding="utf-8")
        options = {"header": "true", "sep": ";"}
        return Source(format="csv", path=str(path), options=options, select=select, **more)

    return write


GERMAN = """id;title;price;stock;changed
1;Tee;34,50;ja;17.01.2026 08:30
2;Kaffee;1.234,00 €;nein;18.01.2026 00:00
3;Kakao;;;
4;Saft;auf Anfrage;vielleicht;gestern
"""


def values(frame, *columns):
    return [tuple(row) for row in frame.orderBy("item_id").select(*columns).collect()]


def test_what_was_given_and_came_to_nothing_is_counted_with_its_first_values(spark, shop):
    found = count_notes(read_table(spark, "items", [shop(GERMAN)], DS))
    assert found == [
        Noted("unread", "price", 3, ("1.234,00 €", "34,50", "auf Anfrage")),
        Noted("unread", "updated_at", 3, ("17.01.2026 08:30", "18.01.2026 00:00", "gestern")),
        Noted("unread", "available", 1, ("vielleicht",)),
    ]


def test_a_source_says_how_it_writes_numbers_and_times(spark, shop):
    source = shop(GERMAN, read_as={"price": "decimal_comma", "updated_at": "dd.MM.yyyy HH:mm"})
    frame = read_table(spark, "items", [source], DS)
    assert values(frame, "price", "available") == [(34.5, True), (1234.0, False), (None, None), (None, None)]
    times = values(frame.selectExpr("item_id", "unix_seconds(updated_at) s"), "s")
    assert times[:3] == [(1768638600,), (1768694400,), (None,)]
    assert {(each.column, each.rows) for each in count_notes(frame)} == {
        ("price", 1),
        ("available", 1),
        ("updated_at", 1),
    }


@pytest.mark.parametrize(
    ("form", "written", "number"),
    [
        ("decimal_point", "EUR 1,234.50", 1234.5),
        ("decimal_point", "1'234.50 CHF", 1234.5),
        ("decimal_point", "-3", -3.0),
        ("decimal_point", "$.99", 0.99),
        ("decimal_comma", "1 234,5", 1234.5),
        ("decimal_comma", "-0,5", -0.5),
        ("decimal_comma", "12", 12.0),
        ("decimal_comma", "1,2,3", None),
        ("decimal_point", "3 for 2", None),
        ("decimal_point", "free", None),
    ],
)
def test_one_number_is_found_among_signs(spark, shop, form, written, number):
    source = shop(f"id;title;price;stock;changed\n1;x;{written};;\n", read_as={"price": form})
    assert values(read_table(spark, "items", [source], DS), "price") == [(number,)]


@pytest.mark.parametrize(
    ("form", "number"),
    [
        ("epoch_seconds", "1768638600.5"),
        ("epoch_milliseconds", "1768638600500"),
        ("epoch_microseconds", "1768638600500000"),
        ("epoch_nanoseconds", "1768638600500000000"),
    ],
)
def test_times_may_be_numbers(spark, shop, form, number):
    source = shop(f"id;title;price;stock;changed\n1;x;;;{number}\n", read_as={"updated_at": form})
    frame = read_table(spark, "items", [source], DS).selectExpr("item_id", "unix_micros(updated_at) m")
    assert values(frame, "m") == [(1768638600500000,)]


@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "microseconds", "nanoseconds"])
def test_numbers_too_large_for_any_time_are_far_out_and_no_number_is_no_time(spark, shop, unit):
    written = (2**62, -(2**62), 2**63 - 1, "NaN")
    text = "id;title;price;stock;changed\n" + "".join(f"{n};x;;;{number}\n" for n, number in enumerate(written))
    source = shop(text, read_as={"updated_at": f"epoch_{unit}"})
    years = values(read_table(spark, "items", [source], DS).selectExpr("item_id", "year(updated_at) y"), "y")
    assert years[-1] == (None,)
    # Nanoseconds of 64 bits are times that a calendar has.
    assert years[:-1] == ([(2116,), (1823,), (2262,)] if unit == "nanoseconds" else [(9999,), (1,), (9999,)])


def test_words_for_nothing_are_nothing_given(spark, shop):
    text = "id;title;price;stock;changed\n" + "".join(
        f"{n};x;{word};{word};{word}\n" for n, word in enumerate((" ", "NaN", "null", "N/A", "-", "None"))
    )
    assert count_notes(read_table(spark, "items", [shop(text)], DS)) == []


def test_a_text_that_was_cut_is_told(spark, shop):
    source = shop(f"id;title;price;stock;changed\n1;{'x' * 100_001};;;\n")
    frame = read_table(spark, "items", [source], DS)
    assert count_notes(frame) == [Noted("cut", "title", 1, ("100001",))]
    assert values(frame.selectExpr("item_id", "length(title) n"), "n") == [(100_000,)]


@pytest.mark.parametrize("where", ["shop", "source"])
def test_a_time_without_a_zone_is_one_of_the_shop(spark, shop, where):
    times = ("2026-01-17 08:30:00", "2026-07-17T08:30:00", "2026-01-17T08:30:00Z")
    text = "id;title;price;stock;changed\n" + "".join(f"{n};x;;;{time}\n" for n, time in enumerate(times))
    source = shop(text, timezone="Europe/Berlin" if where == "source" else "")
    with with_settings(spark, local_time("Europe/Berlin") if where == "shop" else {}):
        frame = read_source(spark, "items", 0, source)
    seconds = frame.selectExpr("item_id", "unix_seconds(updated_at) s")
    # One hour of standard time, two in summer; a zone of its own stays.
    expected = [datetime(2026, 1, 17, 7, 30, tzinfo=UTC), datetime(2026, 7, 17, 6, 30, tzinfo=UTC)]
    expected.append(datetime(2026, 1, 17, 8, 30, tzinfo=UTC))
    assert values(seconds, "s") == [(int(time.timestamp()),) for time in expected]


EVENTS = {"event_id": "id", "user_id": "who", "event_type": "'view'", "event_time": "TIMESTAMP'2026-06-30 10:00:00'"}


@pytest.mark.parametrize(
    ("explode", "item"), [("items AS item", "item.sku"), ("", "EXPLODE(items.sku)"), ("items.sku as s", "s")]
)
def test_an_array_becomes_rows_and_none_is_lost(spark, tmp_path, explode, item):
    (tmp_path / "e.json").write_text(
        '{"id": 7, "who": "u1", "items": [{"sku": "A", "n": 1}, {"sku": "B", "n": 2}]}\n'
        '{"id": 8, "who": "u2", "items": []}\n{"id": 9, "who": "u3"}\n'
    )
    source = Source(format="json", path=str(tmp_path), explode=explode, select=EVENTS | {"item_id": item})
    frame = read_table(spark, "events", [source], DS)
    rows = sorted((row.event_id or "", row.user_id, row.item_id) for row in frame.collect())
    assert rows[-2:] == [("7#0", "u1", "A"), ("7#1", "u1", "B")]
    assert [row[1:] for row in rows[:2]] == [("u2", None), ("u3", None)]


@pytest.mark.parametrize(
    "select",
    [{"read_as": {"price": "comma"}}, {"read_as": {"brand": "decimal_comma"}}, {"timezone": "Mars"}, {"explode": "x"}],
)
def test_a_wrong_form_is_found_when_the_config_is_read(select):
    with pytest.raises(ValueError, match=r"comma|brand|Mars|explode"):
        Source(format="csv", path="x", select=ITEMS, **select)


def test_pandas_nanoseconds_are_read(spark, tmp_path):
    times = [1768638600123456789, None]
    for number, zone in enumerate((None, "UTC")):
        table = pa.table({"id": ["1", "2"], "t": pa.array(times, pa.timestamp("ns", zone))})
        pq.write_table(table, tmp_path / f"{number}.parquet")
        path = str(tmp_path / f"{number}.parquet")
        source = Source(format="parquet", path=path, select={"item_id": "id", "title": "id", "updated_at": "t"})
        with with_settings(spark, local_time("Europe/Berlin")):
            frame = read_source(spark, "items", 0, source)
        # Without a zone it is a time of the shop, an hour before the same of UTC.
        micros = 1768638600123456 - (3_600_000_000 if zone is None else 0)
        assert values(frame.selectExpr("item_id", "unix_micros(updated_at) m"), "m") == [(micros,), (None,)]


def test_a_file_of_spark_that_was_written_anew_in_nanoseconds_is_read(spark, tmp_path):
    spark.sql("SELECT '1' AS id, TIMESTAMP'2026-01-17 08:30:00' AS t").coalesce(1).write.parquet(str(tmp_path / "one"))
    (written,) = (tmp_path / "one").glob("*.parquet")
    # With Spark's own schema beside it, which says microseconds.
    rows = pq.ParquetFile(written).read()
    assert any(b"spark" in key for key in rows.schema.metadata)
    nanos = rows.set_column(1, "t", rows["t"].cast(pa.timestamp("ns", "UTC")))
    (tmp_path / "log").mkdir()
    pq.write_table(nanos.replace_schema_metadata(rows.schema.metadata), tmp_path / "log/part.parquet")
    source = Source(
        format="parquet",
        path=str(tmp_path / "log"),
        select={"user_id": "id", "event_type": "'view'", "event_time": "t", "item_id": "id"},
    )
    found = read_table(spark, "events", [source], date(2026, 1, 17)).select("event_time").collect()
    assert [row.event_time for row in found] == [datetime(2026, 1, 17, 8, 30)]
