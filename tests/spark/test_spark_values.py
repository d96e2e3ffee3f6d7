"""The boundary for input values: what comes out is safe, and what was given is kept wherever it can be."""

from datetime import date, datetime

import pytest

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.night import Source
from recsys_batch.contracts.errors import SourceColumnsError
from recsys_batch.spark.inputs.sources import read_table
from recsys_batch.spark.inputs.values import MAX_ID, MAX_TEXT, typed

DS = date(2026, 6, 30)


def values_of(spark, wanted):
    """SQL expression -> its value as an input column, for (expression, column, type); all in one job."""
    raw = dict(spark.range(1).selectExpr(*(f"{sql} AS v{n}" for n, (sql, *_) in enumerate(wanted))).dtypes)
    columns = [typed(sql, column, kind, raw[f"v{n}"]).alias(f"v{n}") for n, (sql, column, kind) in enumerate(wanted)]
    return dict(zip((sql for sql, *_ in wanted), spark.range(1).select(*columns).first(), strict=True))


IDS = [
    ("CAST(12345673 AS DOUBLE)", "12345673"),
    ("CAST(100000000 AS DOUBLE)", "100000000"),
    ("CAST(20000012 AS FLOAT)", None),  # a float does not tell it from its neighbors
    ("CAST(16777215 AS FLOAT)", "16777215"),
    ("CAST(-5 AS DOUBLE)", "-5"),
    ("DOUBLE('NaN')", None),
    ("DOUBLE('Infinity')", None),
    ("CAST(12.5 AS DOUBLE)", None),
    ("9007199254740993D", None),  # beyond 2^53
    ("CAST(17850.00 AS DECIMAL(12,2))", "17850"),
    ("CAST(17850.50 AS DECIMAL(12,2))", None),
    ("12345678901234567890BD", "12345678901234567890"),
    ("CAST(007 AS BIGINT)", "7"),
    ("'0017'", "0017"),
    ("CAST(X'61ff62' AS STRING)", "a\ufffdb"),
    (f"repeat('x', {MAX_ID})", "x" * MAX_ID),
    (f"repeat('x', {MAX_ID + 1})", None),
    ("NULL", None),
    ("X'534b55'", "SKU"),  # bytes are text
    ("X'61ff62'", "a\ufffdb"),
]
OTHERS = [
    ("CAST(X'74c36561' AS STRING)", "string", "t\ufffdea"),
    (f"repeat('茶', {MAX_TEXT + 5})", "string", "茶" * MAX_TEXT),
    ("'3.5'", "double", 3.5),
    ("DOUBLE('NaN')", "double", None),
    ("'1e400'", "double", None),
    ("-DOUBLE('Infinity')", "double", None),
    ("'many'", "double", None),
    ("X'332e35'", "double", 3.5),
    ("X'ff'", "double", None),
    ("'2026-06-30 05:00:00'", "timestamp", datetime(2026, 6, 30, 5)),
    ("'10:15'", "timestamp", None),  # Spark makes it 10:15 of today
    ("'T10:15:30'", "timestamp", None),
    ("DATE'2026-06-30'", "timestamp", datetime(2026, 6, 30)),
    ("'soon'", "timestamp", None),
    (
        'FROM_JSON(\'{"Color": "red", "Color": "blue"}\', \'MAP<STRING,STRING>\')',
        "map<string,string>",
        {"Color": "blue"},
    ),
    ("ARRAY('A', CAST(X'ff' AS STRING))", "array<string>", ["A", "\ufffd"]),
    ("7", "int", 7),
]


def test_ids(spark):
    found = values_of(spark, [(sql, "item_id", "string") for sql, _ in IDS])
    assert found == dict(IDS)


def test_other_values(spark):
    found = values_of(spark, [(sql, "x", kind) for sql, kind, _ in OTHERS])
    assert found == {sql: value for sql, _, value in OTHERS}


def test_times_far_out_stay_within_what_a_calendar_can_hold(spark):
    # Milliseconds taken for seconds.
    late, early = (
        typed(f"TIMESTAMP_SECONDS({sign}1782777600000)", "event_time", "timestamp", "timestamp") for sign in ("", "-")
    )
    far = spark.range(1).select(late.alias("late"), early.alias("early"))
    row = far.selectExpr("YEAR(late) AS late", "YEAR(early) AS early").first()
    assert (row.late, row.early) == (9999, 1)


WORDS = [
    *((word, True) for word in ("in_stock", "In Stock", "in stock", "https://schema.org/InStock", "TRUE", "1", "yes")),
    *((word, True) for word in ("preorder", "pre-order", "backorder", "onbackorder", "limited availability", "ja")),
    *(
        (word, False)
        for word in ("out_of_stock", "OutOfStock", "out of stock", "sold out", "https://schema.org/SoldOut")
    ),
    *((word, False) for word in ("discontinued", "0", "No", "nein", "缺货")),
    ("in_shock", None),
    ("", None),
]
NUMBERS = {"0": False, "12": True, "CAST(0 AS DOUBLE)": False, "TRUE": True}


def test_words_of_product_feeds_and_numbers_say_what_is_available(spark):
    asked = {f"'{word}'": available for word, available in WORDS} | NUMBERS
    assert values_of(spark, [(sql, "available", "boolean") for sql in asked]) == asked


def test_every_input_column_crosses_the_boundary(spark, tmp_path):
    """A row of nothing but poison is read, and comes out as nulls and replacement characters."""
    poison = "CAST(X'ff' AS STRING)"
    spark.sql(f"SELECT {poison} AS s, DOUBLE('NaN') AS n").coalesce(1).write.parquet(str(tmp_path / "p"))
    for table, columns in Inputs.TYPES.items():
        select = {
            name: {"double": "n", "map<string,string>": "MAP(s, s)", "array<string>": "ARRAY(s)"}.get(kind, "s")
            for name, kind in columns.items()
        }
        source = Source(format="parquet", path=str(tmp_path / "p"), select=select)
        (row,) = read_table(spark, table, [source], DS).collect()
        expected = {"string": "\ufffd", "map<string,string>": {"\ufffd": "\ufffd"}, "array<string>": ["\ufffd"]}
        assert {name: row[name] for name in columns} == {name: expected.get(kind) for name, kind in columns.items()}


def test_a_column_of_an_unfit_type_is_named(spark, tmp_path):
    spark.sql("SELECT ARRAY(1) AS a, 'u' AS u").coalesce(1).write.parquet(str(tmp_path / "p"))
    select = {"item_id": "u", "title": "u", "price": "a"}
    source = Source(format="parquet", path=str(tmp_path / "p"), select=select)
    with pytest.raises(SourceColumnsError, match=r"sources\.items\.0\.select\.price: gives array<int>.*no double"):
        read_table(spark, "items", [source], DS)
