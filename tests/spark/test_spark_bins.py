"""Means by bin, and the language of a text, on rows made by hand."""

import pytest
from pyspark.sql import functions as F

from recsys_batch.measure.bins import BinResult, Kind, mean_by_bin
from recsys_batch.spark.evaluation.segments import language_of
from recsys_batch.spark.session import make_frame, night_settings, with_settings


@pytest.fixture(scope="module", autouse=True)
def as_for_small_tables(spark):
    with with_settings(spark, night_settings(0)):
        yield


def test_bins_of_numbers_ascend_and_take_their_edges_in(spark) -> None:
    rows = [
        (0, 1.0, 0.0),
        (1, 0.5, 0.0),
        (2, 0.25, 1.0),
        (5, 0.75, 0.0),
        (6, 0.0, 0.0),
        (9, 0.5, 1.0),
        (None, 1.0, 1.0),
    ]
    frame = make_frame(spark, rows, "acts INT, `this night` DOUBLE, EASE DOUBLE")
    found = mean_by_bin(frame, [Kind("acts of the user", "acts", (2, 3, 6))], ["this night", "EASE"])
    assert found == [
        BinResult("acts of the user", "0 to 1", 2, {"this night": (1.0 + 0.5) / 2, "EASE": 0.0}),
        BinResult("acts of the user", "2", 1, {"this night": 0.25, "EASE": 1.0}),
        BinResult("acts of the user", "3 to 5", 1, {"this night": 0.75, "EASE": 0.0}),
        BinResult("acts of the user", "6 or more", 2, {"this night": (0.0 + 0.5) / 2, "EASE": (0.0 + 1.0) / 2}),
    ]


def test_of_named_groups_the_largest_are_told(spark) -> None:
    # Of groups a to h, a has nine rows, b eight, and so on; i and j have as many as h.
    names = [name for n, name in enumerate("abcdefgh") for _ in range(9 - n)] + ["i", "i", "j", "j", None]
    frame = make_frame(spark, [(name, float(name == "a")) for name in names], "category STRING, value DOUBLE")
    found = mean_by_bin(frame, [Kind("category", "category")], ["value"])
    assert [(b.name, b.size, b.values["value"]) for b in found] == [
        ("a", 9, 1.0),
        *((name, 8 - n, 0.0) for n, name in enumerate("bcdef")),
    ]


def test_kinds_follow_each_other(spark) -> None:
    frame = make_frame(spark, [("x", 1, 0.5)], "category STRING, acts INT, value DOUBLE")
    found = mean_by_bin(frame, [Kind("acts", "acts", (1,)), Kind("category", "category")], ["value"])
    assert [(b.kind, b.name) for b in found] == [("acts", "1 or more"), ("category", "x")]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("green tea", "Latin letters"),
        ("绿茶", "Chinese"),
        ("华为 Mate 60 手机", "Chinese"),
        ("お茶 緑茶", "Japanese"),
        ("녹차 綠茶", "Korean"),
        ("Зелёный чай", "Cyrillic letters"),
        ("شاي أخضر", "Arabic letters"),
        ("12 / 500", "other"),
        ("", "other"),
        (None, "other"),
    ],
)
def test_a_text_is_in_the_language_that_its_script_tells(spark, text, language) -> None:
    frame = make_frame(spark, [(text,)], "text STRING")
    assert frame.select(language_of(F.col("text"))).first()[0] == language
