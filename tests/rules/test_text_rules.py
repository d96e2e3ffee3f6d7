"""Ids, queries and catalog text against plain Python on `unicodedata`; Chinese passes through as it is."""

import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks import text_rules
from recsys_batch.rules.texts.clean import IdCase, canonicalize_ids, clean_text, normalize_query

ROOT = Path(__file__).parent.parent.parent
quick = settings(derandomize=True, max_examples=100, deadline=None)

# No unassigned code points, which differ between Unicode versions, and no lone surrogates, which Arrow cannot hold.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cn", "Cs"]), max_size=12)
# Where mistakes hide: blanks that are not ASCII, full-width forms, ligatures, combining marks, zero-width characters.
TRICKY = st.text(st.sampled_from(list(" \t\n\u00a0\u3000\u200b\ufeff.0 1７０．ＡａbZéﬁ①蓝牙耳機ｱ-_\u0301")), max_size=8)
FLOAT_LIKE = st.from_regex(r"[ 0-9]{0,5}\.?0{0,3} ?", fullmatch=True)
IDS = st.one_of(st.none(), TRICKY, FLOAT_LIKE, ANY_TEXT)
EDGES = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85"
# Format characters that are drawn: signs before Arabic, Syriac and Kaithi numbers, and Egyptian joiners.
DRAWN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt, but for the categories that `is_hidden` knows.
INKLESS = {
    *(0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),
    *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),
}


def is_hidden(character: str) -> bool:
    """Whether the character shows nothing and separates nothing."""
    category = unicodedata.category(character)
    format_mark = category == "Cf" and ord(character) not in DRAWN
    return format_mark or (category == "Cc" and character not in EDGES) or category in ("Zl", "Zp")


def canonical(raw: str | None, case: IdCase) -> str | None:
    """Say in plain Python what `canonicalize_ids` promises."""
    if raw is None:
        return None
    text = "".join(c for c in unicodedata.normalize("NFKC", raw) if not (is_hidden(c) or ord(c) in INKLESS)).strip(
        EDGES
    )
    if whole := re.fullmatch(r"([0-9]+)\.0+", text):
        text = whole.group(1)
    return {"keep": text, "upper": text.upper(), "lower": text.lower()}[case] or None


def canonicalized(ids: list[str | None], case: IdCase) -> list[str | None]:
    return canonicalize_ids(pa.array(ids, pa.string()), case).to_pylist()


@quick
@given(st.lists(IDS, max_size=6))
@example(["17850.0", " 17850 ", "１７８５０．０", None, "", " \u3000\u200b", "0.0", "1.5", "1.0.0", ".0"])
def test_ids_match_plain_python(ids: list[str | None]) -> None:
    assert canonicalized(ids, "keep") == [canonical(i, "keep") for i in ids]


@quick
@given(st.lists(st.one_of(st.none(), TRICKY), max_size=6), st.sampled_from(["upper", "lower"]))
def test_the_case_policy_matches_plain_python(ids: list[str | None], case: IdCase) -> None:
    assert canonicalized(ids, case) == [canonical(i, case) for i in ids]


@quick
@given(st.lists(IDS, max_size=6), st.sampled_from(["keep", "upper", "lower"]))
@example(["H\u0331", "T\u0308"], "lower")
def test_a_canonical_id_is_its_own_canonical_form(ids: list[str | None], case: IdCase) -> None:
    once = canonicalized(ids, case)
    assert canonicalized(once, case) == once


@pytest.mark.parametrize(
    ("raw", "id_"),
    [
        (None, None),
        ("", None),
        (" \u3000\t", None),
        ("\u200b\ufeff", None),
        ("17850.0", "17850"),
        ("17850.000", "17850"),
        ("17850.50", "17850.50"),
        ("007.0", "007"),
        ("A1.0", "A1.0"),
        ("-5.0", "-5.0"),
        ("１７８５０", "17850"),
        ("ＡＢ－１", "AB-1"),
        ("\ufeff85123a\n", "85123a"),
        ("商品１号", "商品1号"),
        ("a b", "a b"),
        ("1.2345678E7", "12345678"),
        ("1.0E8", "100000000"),
        ("2.0000012E7", "20000012"),
        ("1.23456789012E11", "123456789012"),
        ("1.23457E+12", None),  # a spreadsheet has rounded it
        ("1.5E0", None),  # no whole number
        ("12E5", "12E5"),
        ("1.2E5B", "1.2E5B"),
        *((f"S{hidden}KU{hidden}1", "SKU1") for hidden in "\u200c\u200d\u200e\u200f\u2060\u00ad\u202a\x00\x7f\u2028"),
        *((f"SKU{inkless}1", "SKU1") for inkless in "\u034f\u1160\u3164\uffa0\ufe0f\U000e0100\u180b"),
        ("SKU1\x85", "SKU1"),
        ("ЅKU1", "ЅKU1"),  # a Cyrillic letter is another one
        ("SKU'1", "SKU'1"),
    ],
)
def test_ids_by_example(raw: str | None, id_: str | None) -> None:
    assert canonicalized([raw], "keep") == [id_]


def test_ids_of_an_empty_or_sliced_array() -> None:
    assert canonicalized([], "upper") == []
    assert canonicalize_ids(pa.array(["x", " y ", None, "z"])[1:3], "upper").to_pylist() == ["Y", None]


@pytest.mark.parametrize(
    ("query", "normalized"),
    [
        (None, None),
        ("", None),
        (" \u3000\u200b\n", None),
        ("  Blue\tTooth\u00a0 Headset ", "blue tooth headset"),
        ("ＵＳＢ－Ｃ　线", "usb-c 线"),
        ("蓝牙耳机", "蓝牙耳机"),
        ("ﬁsh ①", "fish 1"),
        ("\ufeffcaf\u0065\u0301", "café"),
        ("x\ud800y", "x\ufffdy"),
        ("5 < 6 &amp; a", "5 < 6 &amp; a"),
        ("\u200ftea\u00ad pot\u2060", "tea pot"),
        ("\u200d\u2060", None),
    ],
)
def test_queries_by_example(query: str | None, normalized: str | None) -> None:
    assert normalize_query(query) == normalized


@quick
@given(st.one_of(TRICKY, ANY_TEXT, st.text(max_size=8)))
@example("H\u0331")
@example("T\u0308 shirt")
def test_a_normalized_query_is_its_own_normal_form(query: str) -> None:
    once = normalize_query(query)
    assert normalize_query(once) == once


@quick
@given(TRICKY)
def test_blanks_and_case_never_make_another_query(query: str) -> None:
    assert normalize_query(f"\u3000{query.replace(' ', ' ' * 3)}\n") == normalize_query(query)
    assert normalize_query(query.swapcase()) == normalize_query(query)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (None, ""),
        ("", ""),
        (" \n\u200b ", ""),
        ("plain words", "plain words"),
        ("<p>Soft <b>cotton</b><br/>shirt</p>", "Soft cotton shirt"),
        ('<img src="a.png" alt="x">Mug<!-- note\nfor staff -->', "Mug"),
        ("Caf&eacute; &amp; Bar&nbsp;&#x4E2D;&#25991;", "Café & Bar 中文"),
        ("&lt;b&gt;bold&lt;/b&gt;", "bold"),
        ("&amp;lt;p&amp;gt;twice &amp;amp; more&amp;lt;/p&amp;gt;", "twice & more"),
        ("5 < 6", "5 < 6"),
        ("5 &lt; 6 and 7 > 3", "5 < 6 and 7 > 3"),
        ("I <3 tea", "I <3 tea"),
        ("A > B > C", "A > B > C"),
        ("AT&T, R&D", "AT&T, R&D"),
        ("真无线蓝牙耳机，降噪 <b>长续航</b>", "真无线蓝牙耳机,降噪 长续航"),
        ("全角　空格　ＡＢＣ１２３", "全角 空格 ABC123"),
        ("x\ud800y", "x\ufffdy"),
        ("&#xD800;z", "\ufffdz"),
        ("\ufeffzero\u200bwidth\u200b", "zero width"),
        ("a\x00b\x1fc\r\n\td", "a b c d"),
        ("soft\u00adhyphen \u202aleft\u202c", "softhyphen left"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner within a word stays
        ("\u200d\u2060\u00ad", ""),
        ("\u0301", ""),
        ("\u3164\ufe0f\u2800", ""),
        ("tea \u2615\ufe0f", "tea \u2615\ufe0f"),  # the selector makes it an emoji
        ("\ue000", ""),  # private use: nobody knows what it shows
        ("Adapter <USB-C> 2m", "Adapter <USB-C> 2m"),
        ("Shirt size <M>", "Shirt size <M>"),
        ("Shirt size <S>", "Shirt size <S>"),
        ("if a<b and c>d", "if a<b and c>d"),
        ("<B>bold</B> <P>text", "bold <P>text"),
        ("<BR>line<br />two<hr/>", "line two"),
        ('<a href="x">link</a> <model-x> <article>', "link <model-x>"),
        ("open <!-- never closed", "open <!-- never closed"),
        ("a<!--b-->c<!---->d", "a c d"),
        (f"&#{'9' * 5000};x", "\ufffdx"),
        (f"&#x{'f' * 5000};x", "\ufffdx"),
        ("&#0000000065;&#x00000000041;", "AA"),
    ],
)
def test_catalog_text_by_example(text: str | None, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@quick
@given(st.one_of(TRICKY, ANY_TEXT, st.text(max_size=12)).filter(lambda text: not set("<&") & set(text)))
def test_text_without_markup_is_only_normalized(text: str) -> None:
    plain = "".join("\ufffd" if unicodedata.category(c) == "Cs" else c for c in text)
    plain = unicodedata.normalize("NFKC", plain)
    plain = "".join(" " if ord(c) < 32 or c in "\x7f\u200b\ufeff" else c for c in plain)
    plain = "".join(c for c in plain if c in "\u200c\u200d\u2028\u2029" or not is_hidden(c))
    shown = any(unicodedata.category(c)[0] not in "CZM" for c in plain)
    assert clean_text(text) == (" ".join(plain.split()) if shown else "")


def test_every_character_that_unicode_calls_a_format_or_a_control_is_settled() -> None:
    """Python's Unicode may be newer than the list of the rule: then this names what it lacks."""
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.category(character) in ("Cf", "Cc") and character not in EDGES:
            expected = f"a{character}b" if code in DRAWN else "ab"
            assert canonicalized([f"a{character}b"], "keep") == [expected], hex(code)


PIECES = ["&lt;", "&gt;", "&amp;", "&#xD800;", "<b>", "</p>", "<!--", "-->", *"ab <>/&;#1!蓝\u200b\ud800\n"]


@quick
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_cleaned_text_can_always_be_stored_and_read(text: str) -> None:
    cleaned = clean_text(text)
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned
    assert " ".join(cleaned.split()) == cleaned
    assert "\u200b" not in cleaned


@pytest.mark.slow
@pytest.mark.parametrize("rule", sorted(text_rules.RULES))
def test_a_rule_ends_on_a_long_text_of_whatever_once_took_it_a_power_of_the_length(rule: str) -> None:
    """No timing decides: a rule in quadratic time takes hours over one of these texts, and the process is stopped."""
    command = [sys.executable, str(ROOT / "benchmarks/text_rules.py"), "--sizes", "100000", "--rule", rule]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert len(done.stdout.splitlines()) == len(text_rules.PIECES)
