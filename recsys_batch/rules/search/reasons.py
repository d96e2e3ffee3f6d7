"""The sentence that tells who asked why an item is in the list."""

from collections.abc import Sequence

from recsys_batch.contracts.columns import CATEGORY, CONTENT, SEARCHERS, WORDS
from recsys_batch.rules.reasons import POPULAR
from recsys_batch.rules.search.words import is_run


def said_words(
    query: str, searched: str | None, term_words: Sequence[str], needed: Sequence[bool], held: Sequence[bool]
) -> tuple[list[str], bool]:
    """Return the words of the query that an item has, as they are searched, and whether these are all of it.

    `term_words` names the word of each term that was looked for, `needed` whether the query lacks something without
    it, `held` whether the item has it. Pairs of characters that follow each other are told as the run that they make.
    """
    found = [word for word, has in zip(term_words, held, strict=True) if has]
    whole = all(has for is_needed, has in zip(needed, held, strict=True) if is_needed)
    words: list[str] = []
    for word in dict.fromkeys(found):
        if words and _follows(words[-1], word) and words[-1] + word[1:] in (searched or query):
            words[-1] += word[1:]
        else:
            words.append(word)
    return words, whole


def _follows(run: str, pair: str) -> bool:
    return is_run(run) and is_run(pair) and len(pair) > 1 and run[-1] == pair[0]


def explain_search(
    source: str,
    query: str,
    searched: str | None,
    words: tuple[Sequence[str], bool],
    category: str | None,
    is_popular: bool,
) -> tuple[str, str]:
    """Return the reason's kind and text: `words` and `some_words` for what the item has of the query, `searchers` for
    what customers chose after it, `query` for its meaning, `category` and `popular` for what fills the list.

    `searched` is the corrected query where it differs, `words` those of `said_words`; `is_popular`: whether any
    customer acted on the item lately.
    """
    instead = f' (for "{query}")' if searched else ""
    asked = searched or query
    if source == WORDS and words[0]:
        if words[1]:
            return "words", f'has "{asked}"{instead}'
        quoted = ", ".join(f'"{word}"' for word in words[0])
        return "some_words", f'has {quoted} of "{asked}"{instead}'
    if source == SEARCHERS:
        return "searchers", f'chosen by customers who searched for "{asked}"{instead}'
    if source in (WORDS, CONTENT):
        return "query", f'matches "{asked}"{instead}'
    if source == CATEGORY and category:
        return "category", f"{'popular in' if is_popular else 'of'} {category}{instead}"
    popular = "popular with other customers; " if is_popular else ""
    return POPULAR, f'{popular}nothing better was found for "{query}"'
