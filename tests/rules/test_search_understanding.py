"""How a query is read: what it looks for, what is mended, and what is never touched."""

from collections import Counter

import numpy as np
import pytest

from recsys_batch.contracts.config.search import Spelling
from recsys_batch.rules.search.spelling import Speller
from recsys_batch.rules.search.understanding import Understood, understand
from recsys_batch.rules.search.words import document_terms, has_digit, is_run, make_stem, parts_of, words_of

STEM = make_stem("english")
TITLES = (
    *("Wireless headphones black", "Wireless mouse", "Bluetooth speaker", "Bluetooth headset", "Office headset"),
    *("Headset for games", "Head and neck massager", "Gift set", "Power bank 10000mAh", "Bank note counter power"),
    *(
        "Sony WH-1000XM4",
        "Phone P30",
        "LED lamp",
        "华为 P30 手机",
        "华为手机壳",
        "苹果 iPhone 手机",
        "苹果耳机 安卓手机可用",
    ),
    *("红苹果手机链", "果酱", "手套", "为你"),
)


class Catalog:
    """The titles as the index of a night knows them."""

    def __init__(self, titles: tuple[str, ...]) -> None:
        self.terms = [set(document_terms(title, STEM)) for title in titles]

    def holders(self, term: str) -> np.ndarray:
        return np.array([item for item, terms in enumerate(self.terms) if term in terms], dtype=np.int64)


def read(query: str, spelling: Spelling | None = None) -> Understood:
    words: Counter[str] = Counter()
    for title in TITLES:
        words.update({p for w in words_of(title) if not is_run(w) for p in parts_of(w) if not has_digit(p)})
    return understand(query, Catalog(TITLES), STEM, Speller(words, spelling or Spelling()))


def terms(made: Understood) -> dict[str, float]:
    return {term.term: term.weight for term in made.terms}


def test_a_known_query_is_looked_for_as_it_is() -> None:
    made = read("wireless headphone")
    assert terms(made) == {"wireless": 1.0, "headphon": 1.0}
    assert (made.words, made.corrections, made.unknown, made.language) == (["wireless", "headphone"], [], [], "en")


@pytest.mark.parametrize(
    ("query", "corrected"),
    [
        ("wireles mouse", [("wireles", "wireless")]),
        ("bluetoth speaker", [("bluetoth", "bluetooth")]),
        # Two letters swapped.
        ("mosue", [("mosue", "mouse")]),
        # Two edits in a long word.
        ("blutoth headset", [("blutoth", "bluetooth")] if len("blutoth") >= 8 else []),
        ("hedphonses", [("hedphonses", "headphones")]),
        # A blank that was left out.
        ("powerbank", [("powerbank", "power bank")]),
    ],
)
def test_unknown_words_become_the_nearest_word_of_the_catalog(query: str, corrected: list[tuple[str, str]]) -> None:
    made = read(query)
    assert made.corrections == corrected
    assert made.unknown == ([] if corrected else ["blutoth"])


@pytest.mark.parametrize("query", ["sony wh-1000xm5", "p31", "1000xm3", "10001mah"])
def test_words_with_digits_are_never_corrected(query: str) -> None:
    assert read(query).corrections == []


@pytest.mark.parametrize("query", [title.lower() for title in TITLES] + ["headsets", "lamps"])
def test_words_that_the_catalog_knows_are_never_corrected(query: str) -> None:
    made = read(query)
    assert made.corrections == []
    assert made.unknown == []


def test_short_words_are_left_alone_and_correction_can_be_turned_off() -> None:
    assert read("lad").corrections == []
    assert read("mosue", Spelling(enabled=False)).unknown == ["mosue"]
    assert read("powerbank", Spelling(enabled=False)).corrections == []


def test_of_equally_near_words_the_one_that_goes_with_the_others_is_taken() -> None:
    # One edit from both `bank` and `band`, of which more items hold the first; alone the more frequent one wins.
    titles = ("power bank", "money bank", "savings bank", "watch band")
    words = Counter(word for title in titles for word in title.split())
    catalog, speller = Catalog(titles), Speller(words, Spelling())
    assert understand("bant", catalog, STEM, speller).corrections == [("bant", "bank")]
    assert understand("watch bant", catalog, STEM, speller).corrections == [("bant", "band")]


def test_what_the_catalog_writes_as_one_word_is_looked_for_too() -> None:
    assert terms(read("head set")) == {"head": 1.0, "set": 1.0, "headset": 1.0}
    # Two items hold both words of a power bank, none writes it in one.
    assert terms(read("power bank")) == {"power": 1.0, "bank": 1.0}


def test_a_model_number_is_found_by_its_parts_and_whole() -> None:
    made = read("sony wh-1000xm4")
    assert terms(made) == {"soni": 1.0, "wh": 1.0, "1000xm4": 1.0, "wh1000xm4": 1.0}
    assert made.models == ["wh-1000xm4"]
    assert [term.word for term in made.terms if not term.is_needed] == ["wh1000xm4"]


def test_pairs_that_end_one_word_and_begin_the_next_weigh_little() -> None:
    made = read("苹果手机")
    # 3 items hold 苹 and all of them 苹果; 果手 stands in one of the 4 with 果, 手机 in 5 of the 5 with 机.
    assert terms(made) == pytest.approx({"苹果": 1.0, "果手": 1 / 4, "手机": 1.0})
    assert [term.word for term in made.terms if term.is_needed] == ["苹果", "手机"]
    assert made.language == "zh"


def test_a_run_without_a_known_pair_is_looked_for_by_its_characters() -> None:
    made = read("果套")
    assert {"果": 0.3, "套": 0.3}.items() <= terms(made).items()
    assert made.by_characters
    assert made.unknown == ["果套"]


def test_what_no_known_pair_covers_is_unknown_and_a_single_character_may_be_a_word() -> None:
    made = read("云米手机套")
    assert made.unknown == ["云米"]
    # 机套 stands nowhere, but gloves, 手套, hold the character.
    assert terms(made) == {"手机": 1.0, "套": 0.3, "云米": 1.0}
    assert not made.by_characters


@pytest.mark.parametrize(
    ("query", "found"), [("p30pro", {}), ("p30headset", {"p30": 1.0, "headset": 1.0}), ("xm4p30", {})]
)
def test_letters_and_digits_are_parted_where_the_catalog_knows_both(query: str, found: dict[str, float]) -> None:
    made = read(query)
    assert made.corrections == []
    assert terms(made) == (found or {query: 1.0})
    assert made.unknown == ([] if found else [query])


@pytest.mark.parametrize(
    ("query", "language"), [("华为p30", "mixed"), ("huawei", "en"), ("手机", "zh"), ("♥♥", "none")]
)
def test_language(query: str, language: str) -> None:
    assert read(query).language == language


def test_an_unknown_word_stays_something_that_no_item_has() -> None:
    made = read("qwxzv headphones")
    assert made.unknown == ["qwxzv"]
    assert terms(made) == {"qwxzv": 1.0, "headphon": 1.0}
