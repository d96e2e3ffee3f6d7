"""The pieces of a text that edits work on: words, single Chinese characters, and what stands between them."""

import re

from recsys_batch.rules.texts.documents import CJK

_PIECE = re.compile(rf"[{CJK}]|[^\W_{CJK}]+(?:['’\-][^\W_{CJK}]+)*")


def split_pieces(text: str) -> tuple[list[str], list[str]]:
    """Return the words (a Chinese character is one), and the gaps around them: gaps[i] stands before word i, the last
    after all. `join_pieces` puts them together again.
    """
    words, gaps, end = [], [], 0
    for found in _PIECE.finditer(text):
        gaps.append(text[end : found.start()])
        words.append(found.group())
        end = found.end()
    return words, [*gaps, text[end:]]


def join_pieces(words: list[str], gaps: list[str]) -> str:
    """Return the text of words and gaps."""
    return "".join(gap + word for gap, word in zip(gaps, [*words, ""], strict=True))
