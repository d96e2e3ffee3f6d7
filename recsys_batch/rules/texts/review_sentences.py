"""Which sentences of an item's reviews say most about it: by the words that its reviewers share.

Knows one item at a time.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable

from recsys_batch.rules.texts.clean import clean_text
from recsys_batch.rules.texts.documents import CJK, count_tokens, split_sentences
from recsys_batch.rules.texts.near_duplicates import title_key

# Shorter sentences say little, longer ones fill the budget; in between, length is no merit.
_MODERATE_TOKENS = (8, 32)
# Sentences that share more of their words than this are near-identical.
_MAX_OVERLAP = 0.6
# A review one star from the item's average counts a tenth less, two stars two tenths, and so on.
_UNTYPICAL_PENALTY = 0.1

_WORD = re.compile(rf"[^\W\d_{CJK}]{{2,}}")
_CJK_RUN = re.compile(f"[{CJK}]+")
# What the tokens of English reviews are mostly made of.
_STOP_WORDS = frozenset(
    word
    for line in (
        "about after again all also am an and any are as at be been but by can could did do does for from get got had",
        "has have he her him his how if in into is it its just me more most much my no not of off on one only or our",
        "out over really she so some than that the their them then there these they this to too up us very was we",
        "were what when which who will with would you your",
    )
    for word in line.split()
)
# Characters whose pairs say nothing of a product: particles, pronouns, degrees. Not 不: `不掉色` says something.
_STOP_CHARACTERS = frozenset("的了是我你他她它们这那个也就都还又和与在有很太吧呢吗啊哦呀啦么着过把被给让会要说")


def choose_review_sentences(reviews: Iterable[tuple[float | None, str]], title: str, number: int) -> list[str]:
    """Choose up to `number` sentences of one item's reviews (rating, text), the most informative first.

    A sentence scores by the share of the reviews that use each of its words (of a Chinese text, pairs of characters),
    stop words and words of the `title` aside, over the root of their number; less where it is short or long, or where
    the review's rating is far from the item's average. One by one the best is taken, less its overlap with those
    taken; near-identical ones are dropped. The order of the reviews plays no part; ties go to the lesser text.
    """
    distinct = sorted({(rating is not None, rating or 0.0, clean_text(text)) for rating, text in reviews})
    average = _mean([rating for rated, rating, _ in distinct if rated])
    stated = _words(clean_text(title))
    sentences_of = [(rated, rating, split_sentences(text)) for rated, rating, text in distinct]
    counts = Counter(word for *_, said in sentences_of for word in _words(" ".join(said)) - stated)
    scores: dict[str, float] = {}
    for rated, rating, said in sentences_of:
        typical = 1.0 - _UNTYPICAL_PENALTY * min(abs(rating - average), 5.0) if rated else 1.0
        for sentence in said:
            score = typical * _score(sentence, stated, counts, len(distinct))
            scores[sentence] = max(score, scores.get(sentence, 0.0))
    return _take_diverse({sentence: score for sentence, score in scores.items() if score > 0}, number)


def _score(sentence: str, stated: set[str], counts: Counter[str], num_reviews: int) -> float:
    words = _words(sentence) - stated
    if not words:
        return 0.0
    tokens = count_tokens(sentence)
    low, high = _MODERATE_TOKENS
    length = min(1.0, tokens / low, high / tokens)
    return length * sum(counts[word] for word in words) / num_reviews / math.sqrt(len(words))


def _take_diverse(scores: dict[str, float], number: int) -> list[str]:
    words = {sentence: _words(sentence) for sentence in scores}
    overlaps = dict.fromkeys(scores, 0.0)
    taken: list[str] = []
    while overlaps and len(taken) < number:
        best = min(overlaps, key=lambda sentence: (-scores[sentence] * (1.0 - overlaps[sentence]), sentence))
        taken.append(best)
        del overlaps[best]
        key = title_key(best)
        for sentence in list(overlaps):
            shared = len(words[sentence] & words[best]) / len(words[sentence] | words[best])
            overlaps[sentence] = max(overlaps[sentence], shared)
            if overlaps[sentence] > _MAX_OVERLAP or title_key(sentence) == key:
                del overlaps[sentence]
    return taken


def _words(text: str) -> set[str]:
    words = {word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS}
    for run in _CJK_RUN.findall(text):
        pairs = (run[i : i + 2] for i in range(len(run) - 1))
        words.update(pair for pair in pairs if not _STOP_CHARACTERS & set(pair))
    return words


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
