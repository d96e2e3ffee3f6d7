"""The one text of an item: its fields in a set order, within a token budget, cut between sentences, in its language.

Knows no tokenizer: `count_tokens` is an estimate that any encoder's budget can be planned with.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from recsys_batch.rules.texts.clean import clean_text

# Scripts that put no blank between words: their characters are counted, and cut, one by one.
CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = re.compile(rf"[A-Za-z]+|[0-9]+|[{CJK}]|[^\W_{CJK}]+|\S")
# Measured with the tokenizer of all-MiniLM-L6-v2 on titles, descriptions and attributes of two English catalogs.
_LETTERS_A_TOKEN = 5
_DIGITS_A_TOKEN = 2
_OTHER_LETTERS_A_TOKEN = 2

_CJK = re.compile(f"[{CJK}]")
_OTHER_WORD = re.compile(rf"[^\W\d_{CJK}]+")

# An ender, with the quotes and brackets that close after it. `!` and `?` end a sentence without a blank only in Chinese
# (NFKC has made their full-width forms plain), and a full stop only before a blank: 3.5, example.com.
_CLOSERS = "[\"'”’»)\\]】」』]*"
# Only at the start of a run of enders, which is taken whole or not at all: no text is walked twice.
_END = re.compile(
    rf"(?<![。!?.])(?:[!?.]*+。[。!?.]*+{_CLOSERS}+\s*+"
    rf"|(?<=[{CJK}\"'”’)])[!?]++{_CLOSERS}+\s*+"
    rf"|[!?]++{_CLOSERS}+(?=[{CJK}])"
    rf"|[.!?]++{_CLOSERS}+(?:\s++|$))"
)
# One letter more than the longest of the words below.
_LAST_WORD = 7
_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:e\.g|i\.e|approx|ca|incl|excl|mr|mrs|ms|dr|vs|fig|vol|pp)$", re.IGNORECASE)
_BEFORE_NUMBER = re.compile(r"(?:^|[\s(])(?:no|nr|max|min|art)$", re.IGNORECASE)
_ENDERS = ".!?。"
_LEVEL = re.compile(r"\s*>\s*")


def count_tokens(text: str) -> int:
    """Estimate the tokens of `text`, special tokens not included.

    A CJK character, a punctuation mark and every five letters of a word count one; so do two digits, or two letters of
    other scripts. Additive over texts that are joined by blanks or punctuation.
    """
    return sum(_cost(run) for run in _RUN.findall(text))


def _cost(run: str) -> int:
    if len(run) == 1:
        return 1
    if run.isascii():
        return -(-len(run) // (_DIGITS_A_TOKEN if run[0].isdigit() else _LETTERS_A_TOKEN))
    return -(-len(run) // _OTHER_LETTERS_A_TOKEN)


def split_sentences(text: str) -> list[str]:
    """Split cleaned text after its sentence enders, English and Chinese; nothing but blanks is lost."""
    sentences, start = [], 0
    for end in _END.finditer(text):
        before = text[max(start, end.start() - _LAST_WORD) : end.start()]
        if end.group().rstrip() != "." or not _is_abbreviation(before, text[end.end() : end.end() + 1]):
            sentences.append(text[start : end.end()].strip())
            start = end.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if sentence]


def _is_abbreviation(before: str, after: str) -> bool:
    if not after:
        return False
    return bool(_ABBREVIATION.search(before) or (after.isdigit() and _BEFORE_NUMBER.search(before)))


def is_cjk(text: str) -> bool:
    """Whether most letters of the text are CJK characters, each counted as the three letters that it stands for."""
    return 3 * len(_CJK.findall(text)) > sum(map(len, _OTHER_WORD.findall(text)))


def build_document(
    fields: Sequence[str],
    max_tokens: int,
    values: Mapping[str, str | None],
    attributes: Mapping[str, str | None] | None,
    sentences: Sequence[str] | None,
) -> str:
    """Join the `fields` of one item, in that order, into the text that is encoded, of at most `max_tokens`.

    `values` holds title, brand, category and description; `sentences` are those of its reviews. A brand that the text
    already names is not repeated. Attributes come sorted by name, so that the map's order never changes the text (and
    so its embedding). No field takes more than the earlier ones left: of a description and of reviews whole sentences
    that fit, of attributes whole pairs, of a category path the whole or its last level, of a brand nothing else. Only
    a title, and a description of which no sentence fits, is cut within a sentence: after a word, or, in Chinese, after
    a character. Parts are set apart in the manner of the title's script.
    """
    document = _Document(max_tokens, is_cjk(clean_text(values.get("title")) or " ".join(filter(None, values.values()))))
    for field in fields:
        value = clean_text(values.get(field))
        if field == "attributes":
            document.add_list(_pairs(attributes, document.cjk))
        elif field == "reviews":
            document.add_sentences([text for s in sentences or () if (text := clean_text(s))], may_cut=False)
        elif field == "title":
            document.add_sentences([value] if value else [], may_cut=True)
        elif field == "description":
            document.add_sentences(split_sentences(value), may_cut=True)
        elif field == "category":
            document.add_first([value, _LEVEL.split(value)[-1]])
        elif value and not names_brand(document.text, value):
            document.add_first([value])
    return document.text


def names_brand(text: str, brand: str) -> bool:
    """Whether the text names the brand as whole words; next to a CJK character every word is whole."""
    text, brand = text.lower(), brand.lower()
    at = text.find(brand)
    while at >= 0:
        end = at + len(brand)
        if not (_are_one_word(text[at - 1 : at], brand[:1]) or _are_one_word(brand[-1:], text[end : end + 1])):
            return True
        at = text.find(brand, at + 1)
    return False


def _are_one_word(left: str, right: str) -> bool:
    return left.isalnum() and right.isalnum() and not _CJK.match(left) and not _CJK.match(right)


class _Document:
    """A text that grows part by part while the budget lasts."""

    def __init__(self, max_tokens: int, cjk: bool) -> None:
        self.text = ""
        self.cjk = cjk
        self._left = max_tokens

    def add_first(self, choices: Iterable[str]) -> None:
        """Add the first choice that fits, as a part of its own."""
        for choice in choices:
            if choice and self._add(self._part_break(), choice):
                return

    def add_list(self, entries: Iterable[str]) -> None:
        """Add the entries that fit as one part."""
        between = ";" if self.cjk else "; "
        joiner = self._part_break()
        for entry in entries:
            if self._add(joiner, entry):
                joiner = between

    def add_sentences(self, sentences: Sequence[str], *, may_cut: bool) -> None:
        """Add the sentences that fit; where none does and `may_cut`, as much of the first as fits."""
        added = [self._add(self._part_break(), sentence) for sentence in sentences]
        if may_cut and sentences and not any(added):
            joiner = self._part_break()
            self._add(joiner, _cut(sentences[0], self._left - count_tokens(joiner)))

    def _add(self, joiner: str, part: str) -> bool:
        cost = count_tokens(joiner) + count_tokens(part)
        if not part or cost > self._left:
            return False
        self.text += joiner + part
        self._left -= cost
        return True

    def _part_break(self) -> str:
        if not self.text:
            return ""
        ended = self.text.rstrip("\"'”’»)]】」』")[-1:] in _ENDERS
        if self.cjk:
            return "" if ended else "。"
        return " " if ended else ". "


def _pairs(attributes: Mapping[str, str | None] | None, cjk: bool) -> list[str]:
    colon = ":" if cjk else ": "
    cleaned = sorted((clean_text(name), clean_text(value)) for name, value in (attributes or {}).items())
    return [f"{name}{colon}{value}" if name else value for name, value in cleaned if value]


def _cut(text: str, max_tokens: int) -> str:
    """Return the longest start of the text within the budget that ends after a word or a CJK character."""
    spent = 0
    for run in _RUN.finditer(text):
        cost = _cost(run.group())
        if spent + cost > max_tokens:
            kept = text[: run.start()]
            is_within_word = bool(kept[-1:].strip()) and not (_CJK.match(kept[-1]) or _CJK.match(run.group()))
            words = kept.rsplit(None, 1)
            if is_within_word and len(words) > 1:
                kept = words[0]
            return kept.rstrip(" ,;:-/(&+") or _cut_run(run.group(), max_tokens)
        spent += cost
    return text


def _cut_run(run: str, max_tokens: int) -> str:
    """Return the longest start of a single overlong run: a title that is one endless word still says something."""
    letters = _DIGITS_A_TOKEN if run[0].isdigit() else _LETTERS_A_TOKEN
    return run[: max_tokens * (letters if run.isascii() else _OTHER_LETTERS_A_TOKEN)] if max_tokens > 0 else ""
