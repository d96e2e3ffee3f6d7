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
    terms = list(zip(term_words, needed, held, strict=True))
    whole = all(has for _, is_needed, has in terms if is_needed)
    has_needed = any(has and is_needed for _, is_needed, has in terms)
    # `hardanodized` says nothing beside `hard` and `anodized`.
    found = [word for word, is_needed, has in terms if has and (is_needed or is_run(word) or not has_needed)]
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
