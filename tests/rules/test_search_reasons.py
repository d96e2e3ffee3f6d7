"""What a shopper is told of the words that an item has, and of what else speaks for it."""

import pytest

from recsys_batch.contracts.columns import CATEGORY, CONTENT, POPULARITY, SEARCHERS, WORDS
from recsys_batch.rules.search.reasons import explain_search, said_words


@pytest.mark.parametrize(
    ("words", "needed", "held", "said", "whole"),
    [
        (["wireless", "mouse"], [True, True], [True, True], ["wireless", "mouse"], True),
        (["wireless", "mouse"], [True, True], [False, True], ["mouse"], False),
        # Another spelling is told only where it is all there is.
        (["head", "set", "headset"], [True, True, False], [True, True, True], ["head", "set"], True),
        (["head", "set", "headset"], [True, True, False], [False, False, True], ["headset"], False),
        # Pairs that follow each other make the run that was typed.
        (["华为", "为手", "手机"], [True, False, True], [True, True, True], ["华为手机"], True),
        (["华为", "为手", "手机"], [True, False, True], [True, False, True], ["华为", "手机"], True),
        (["手机", "红色"], [True, True], [True, False], ["手机"], False),
        ([], [], [], [], True),
    ],
)
def test_words_that_an_item_has(
    words: list[str], needed: list[bool], held: list[bool], said: list[str], whole: bool
) -> None:
    assert said_words("华为手机", None, words, needed, held) == (said, whole)


@pytest.mark.parametrize(
    ("source", "words", "popular", "kind", "text"),
    [
        (WORDS, (["tea", "pot"], True), False, "words", 'has "tea pot"'),
        (WORDS, (["tea"], False), False, "some_words", 'has "tea" of "tea pot"'),
        (CONTENT, ([], False), False, "query", 'matches "tea pot"'),
        (SEARCHERS, ([], False), True, "searchers", 'chosen by customers who searched for "tea pot"'),
        (CATEGORY, ([], False), True, "category", "popular in Kitchen"),
        (CATEGORY, ([], False), False, "category", "of Kitchen"),
        (
            POPULARITY,
            ([], False),
            True,
            "popular",
            'popular with other customers; nothing better was found for "tea pot"',
        ),
        (POPULARITY, ([], False), False, "popular", 'nothing better was found for "tea pot"'),
    ],
)
def test_reasons(source: str, words: tuple[list[str], bool], popular: bool, kind: str, text: str) -> None:
    assert explain_search(source, "tea pot", None, words, "Kitchen", popular) == (kind, text)


def test_a_corrected_query_is_told_beside_what_was_typed() -> None:
    said = explain_search(WORDS, "taa pot", "tea pot", (["tea", "pot"], True), None, False)
    assert said == ("words", 'has "tea pot" (for "taa pot")')
