"""Words of a text and the terms that they are found by, in English, Chinese and the mixture of both."""

import pytest

from recsys_batch.rules.search.words import document_terms, make_stem, pairs_of, split_units, words_of

STEM = make_stem("english")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Wireless Headphones", ["wireless", "headphones"]),
        ("Café  crème", ["cafe", "creme"]),
        ("Sony WH-1000XM4, black/white", ["sony", "wh-1000xm4", "black/white"]),
        ("华为手机 P30", ["华为手机", "p30"]),
        ("华为P30手机", ["华为", "p30", "手机"]),
        ("ＩＰＨＯＮＥ 11", ["iphone", "11"]),
        ("a_b", ["a", "b"]),
        ("♥ !!", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_marks_that_change_a_letter_of_another_script_stay() -> None:
    assert words_of("ガラス") == ["ガラス"]
    assert words_of("한국어") == ["한국어"]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Headphones", ["headphon"]),
        ("WH-1000XM4", ["wh", "1000xm4", "wh1000xm4"]),
        # A single letter belongs to its number.
        ("P30 128GB", ["p30", "128gb", "128", "gb"]),
        ("iPhone7Plus", ["iphone7plus", "iphon", "7", "plus"]),
        ("手机壳", ["手", "机", "壳", "手机", "机壳"]),
        ("锅", ["锅"]),
        ("speaker speaker", ["speaker", "speaker"]),
    ],
)
def test_terms_of_a_document(text: str, terms: list[str]) -> None:
    assert document_terms(text, STEM) == terms


def test_no_language_keeps_words_as_they_are() -> None:
    assert document_terms("Headphones", make_stem("none")) == ["headphones"]


def test_pairs_of_a_run() -> None:
    assert pairs_of("华为手机") == ["华为", "为手", "手机"]
    assert pairs_of("锅") == ["锅"]


def test_units_are_split_but_model_numbers_are_not() -> None:
    assert split_units("500ml") == ["500", "ml"]
    assert split_units("x1") == split_units("rtx") == split_units("2060") == split_units("wh1000xm4") == []
