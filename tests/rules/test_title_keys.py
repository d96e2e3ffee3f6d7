"""Title keys against `unicodedata` categories, and the ways in which a second supplier writes the same title."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys_batch.demo.dirt import near_duplicate_title
from recsys_batch.rules.texts.near_duplicates import title_key

quick = settings(derandomize=True, max_examples=200, deadline=None)
TITLES = st.text(st.sampled_from(list("abZß éﬁ1２Ⅳ.,-·!【】*（）_茶壶ー한กีकि\u0301\ufe0f\u200b")), max_size=14)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cn", "Cs"]), max_size=12)


@pytest.mark.parametrize(
    ("title", "key"),
    [
        (None, None),
        ("", None),
        (" ★ — ", None),
        ("Oat Milk Sheet-Mask!", "oatmilksheetmask"),
        ("＊ＯＡＴ　ｍｉｌｋ＊ sheet mask", "oatmilksheetmask"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("snake_case", "snakecase"),
        ("【野径便携露营椅】姜黄色", "野径便携露营椅姜黄色"),
        ("cafe\u0301", "café"),
        ("Bottle 1.5 l", "bottle1 5l"),
        ("Bottle 1,5l", "bottle1 5l"),
        ("Bottle 15 l", "bottle15l"),
        ("❤️ Mug 1️⃣", "mug1"),
        ("กี่", "กี่"),
    ],
)
def test_keys_by_example(title: str | None, key: str | None) -> None:
    assert title_key(title) == key


@quick
@given(st.one_of(TITLES, ANY_TEXT))
def test_letters_and_digits_of_the_folded_title_are_what_is_left(title: str) -> None:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", title).casefold())
    letters = [c for c in folded if unicodedata.category(c)[0] in "LN"]
    key = title_key(title) or ""
    # Jamo that have become neighbors compose, so compare what they decompose to; marks of letters may be left too.
    left = [c for c in unicodedata.normalize("NFD", key) if unicodedata.category(c)[0] in "LN"]
    assert left == [c for c in unicodedata.normalize("NFD", "".join(letters)) if unicodedata.category(c)[0] in "LN"]


@quick
@given(st.one_of(TITLES, ANY_TEXT))
@example("1⃣a")
def test_a_key_is_its_own_key(title: str) -> None:
    key = title_key(title)
    assert title_key(key) == key


@quick
@given(st.lists(st.text("abcXYZ茶壶刀具", min_size=1, max_size=6), min_size=1, max_size=5), st.floats(0, 0.999))
def test_another_case_and_punctuation_never_change_the_key(words: list[str], point: float) -> None:
    for title in (" ".join(words), ", ".join(words)):
        assert title_key(near_duplicate_title(title, point)) == title_key(title)


@quick
@given(st.integers(0, 99), st.integers(0, 99))
def test_numbers_that_something_separates_are_not_one_number(a: int, b: int) -> None:
    assert title_key(f"{a}.{b} l") == title_key(f"{a} , {b}L") != title_key(f"{a}{b} l")
