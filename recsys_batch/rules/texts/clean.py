"""Text and id normalization. Unicode all the way: Chinese passes through as it is.

Strangers write these texts, so every rule takes time in proportion to their length.
"""

import html
import re
import unicodedata
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

IdCase = Literal["keep", "upper", "lower"]

# Characters that show nothing and separate nothing (Unicode's Cf, but for signs that are drawn, and Cc beyond ASCII):
# soft hyphens, marks of direction, word joiners, tags.
_HIDDEN = (
    *((0x80, 0x84), (0x86, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E)),
    *((0x200E, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0xFFF9, 0xFFFB), (0x1BCA0, 0x1BCA3)),
    *((0x1D173, 0x1D17A), (0xE0001, 0xE0001), (0xE0020, 0xE007F)),
)
# Letters of no ink (Unicode's Default_Ignorable_Code_Point that is no Cf): fillers, and selectors of a glyph's variant,
# which emoji need.
_INKLESS = (
    *((0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180D), (0x180F, 0x180F), (0x3164, 0x3164)),
    *((0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF)),
)
# Of those the ones that Unicode calls letters, after NFKC, and the blank of Braille, which it calls a symbol.
_SHOWS_NOTHING = frozenset("\u115f\u1160\u2800")
# Control characters, which count as blanks in texts, zero-width spaces and joiners, which words and emoji need, and
# separators of lines: in an id they are hidden too.
_HIDDEN_IN_IDS = (
    *_HIDDEN,
    *_INKLESS,
    (0x00, 0x08),
    (0x0E, 0x1B),
    (0x7F, 0x7F),
    (0x200B, 0x200D),
    (0x2028, 0x2029),
    (0xFEFF, 0xFEFF),
)
_HIDDEN_BY_RE2 = "[" + "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in _HIDDEN_IN_IDS) + "]+"
_HIDDEN_IN_TEXT = re.compile("[" + "".join(f"{chr(low)}-{chr(high)}" for low, high in _HIDDEN) + "]+")
# Normalization sorts the marks over one letter, in quadratic time; Unicode's stream-safe texts have at most 30.
_MAX_MARKS = 30
_PILE_BY_RE2 = rf"(\p{{M}}{{{_MAX_MARKS}}})\p{{M}}+"
_MAYBE_PILE = re.compile(rf"[^\w\s\x00-\u02ff]{{{_MAX_MARKS + 1}}}")

_ELEMENTS = (
    "a|abbr|acronym|address|area|article|aside|audio|b|base|basefont|bdi|bdo|big|blink|blockquote|body|br|button|canvas"
    "|caption|center|cite|code|col|colgroup|data|datalist|dd|del|details|dfn|dialog|dir|div|dl|dt|em|embed|fieldset"
    "|figcaption|figure|font|footer|form|frame|frameset|h[1-6]|head|header|hgroup|hr|html|i|iframe|img|input|ins|kbd"
    "|label|legend|li|link|main|map|mark|marquee|menu|meta|meter|nav|nobr|noframes|noscript|object|ol|optgroup|option"
    "|output|p|param|picture|pre|progress|q|rp|rt|ruby|s|samp|script|search|section|select|slot|small|source|span"
    "|strike|strong|style|sub|summary|sup|svg|table|tbody|td|template|textarea|tfoot|th|thead|time|title|tr|track|tt"
    "|u|ul|var|video|wbr"
)
# A known element, with attributes (a="b") or without. Other brackets are the seller's own: <M>, <USB-C>, a<b and c>d.
_TAG = re.compile(rf"<(/?)({_ELEMENTS})(\s[^<>=]{{1,200}}=[^<>]{{0,500}}|\s*/|\s+)?>", re.IGNORECASE)
# Beyond the last code point; Python refuses to read numbers of thousands of digits.
_HUGE_REFERENCE = re.compile(r"&#(?:0*[1-9][0-9]{7,}|[xX]0*[1-9a-fA-F][0-9a-fA-F]{6,});?")
_BLANK = re.compile(r"[\s\u0000-\u001f\u007f\u200b\ufeff]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_FLOAT_ID = r"^([0-9]+)\.0+$"
# A whole number as Java, Python and spreadsheets write large ones.
_EXPONENT_ID = r"^[0-9]\.[0-9]+[eE]\+?[0-9]{1,3}$"
# The characters that Python's and Arrow's trims both remove once NFKC has made the exotic blanks plain.
_TRIMMED = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85"


def canonicalize_ids(ids: pa.Array, case: IdCase) -> pa.Array:
    """Return external ids in canonical form: NFKC, trimmed, cased, without invisible characters, blank as null.

    Whole numbers are written as such: `17850.0` as `17850`, `1.2345678E7` as `12345678`. One that a spreadsheet has
    rounded (`1.23457E+12`) is no id any more, and null.
    """
    seen = pc.replace_substring_regex(ids, pattern=_PILE_BY_RE2, replacement=r"\1")
    normalized = pc.utf8_normalize(seen, form="NFKC")
    normalized = pc.replace_substring_regex(normalized, pattern=_HIDDEN_BY_RE2, replacement="")
    normalized = pc.utf8_trim(normalized, characters=_TRIMMED)
    normalized = pc.replace_substring_regex(normalized, pattern=_FLOAT_ID, replacement=r"\1")
    normalized = _without_exponents(normalized)
    if case == "upper":
        normalized = pc.utf8_upper(normalized)
    elif case == "lower":
        normalized = pc.utf8_lower(normalized)
    normalized = pc.utf8_normalize(normalized, form="NFKC")
    return pc.if_else(pc.equal(normalized, ""), pa.scalar(None, pa.string()), normalized)


def _without_exponents(ids: pa.Array) -> pa.Array:
    is_number = pc.fill_null(pc.match_substring_regex(ids, pattern=_EXPONENT_ID), False)
    if not pc.any(is_number).as_py():
        return ids
    written = [_written_out(one) for one in ids.filter(is_number).to_pylist()]
    return pc.replace_with_mask(ids, is_number, pa.array(written, ids.type))


def _written_out(number: str) -> str | None:
    mantissa, exponent = number.upper().split("E")
    places = int(exponent)
    digits = mantissa[2:].rstrip("0")
    # With a plus it is a spreadsheet's, which shows six digits of however many there were.
    if len(digits) > places or exponent.startswith("+"):
        return None
    return mantissa[0] + digits + "0" * (places - len(digits))


def normalize_query(query: str | None) -> str | None:
    """Return a search query as it is grouped and published: NFKC, lower case, single blanks; blank becomes None."""
    if query is None:
        return None
    lowered = _squeeze(_normalized(query)).lower()
    return _normalized(lowered) if _shows_something(lowered) else None


def clean_text(text: str | None) -> str:
    """Return catalog text for reading and encoding: tags and entities removed, NFKC, single blanks.

    Invisible characters go, but for joiners within words; a text that shows nothing is empty.
    """
    if not text:
        return ""
    plain = _without_markup(text) if "<" in text or "&" in text else text
    cleaned = _squeeze(_normalized(plain))
    return cleaned if _shows_something(cleaned) else ""


def _without_markup(text: str) -> str:
    # Entities may hide tags (`&lt;b&gt;`), and some feeds escape twice, so entities go first, twice.
    for _ in range(2):
        text = html.unescape(_HUGE_REFERENCE.sub("\ufffd", text))
    text = _without_comments(text)
    closed = {found[2] for found in _TAG.finditer(text) if found[1]}

    def blank(tag: re.Match[str]) -> str:
        # <S>, <P>: a size or a part, unless it is closed somewhere.
        is_letter = len(tag[2]) == 1 and tag[2].isupper() and not tag[3]
        return tag[0] if is_letter and not tag[1] and tag[2] not in closed else " "

    return _TAG.sub(blank, text)


def _without_comments(text: str) -> str:
    kept, at = [], 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        kept += [text[at:start], " "]
        at = end + 3
    return "".join([*kept, text[at:]])


def _normalized(text: str) -> str:
    text = stream_safe(_SURROGATE.sub("\ufffd", text))
    return _HIDDEN_IN_TEXT.sub("", unicodedata.normalize("NFKC", text))


def stream_safe(text: str) -> str:
    """Return the text with at most 30 marks over one letter (Unicode Standard Annex 15, 13), fit to be normalized."""
    if not _MAYBE_PILE.search(text):
        return text
    kept, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character)[0] == "M" else 0
        if marks <= _MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def _shows_something(text: str) -> bool:
    return any(unicodedata.category(each)[0] not in "CZM" and each not in _SHOWS_NOTHING for each in text)


def _squeeze(text: str) -> str:
    return _BLANK.sub(" ", text).strip()
