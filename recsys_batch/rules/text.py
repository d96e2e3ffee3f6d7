"""Text and id normalization. Unicode all the way: Chinese passes through as it is."""

import html
import re
import unicodedata
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

IdCase = Literal["keep", "upper", "lower"]

_TAG = re.compile(r"<(?:!--.*?--|/?[A-Za-z][^<>]{0,500})>", re.DOTALL)
_BLANK = re.compile(r"[\s\u0000-\u001f\u007f\u200b\ufeff]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_FLOAT_ID = r"^([0-9]+)\.0+$"
# The characters that Python's and Arrow's trims both remove once NFKC has made the exotic blanks plain.
_TRIMMED = " \t\n\r\x0b\x0c\u200b\ufeff"


def canonicalize_ids(ids: pa.Array, case: IdCase) -> pa.Array:
    """Return external ids in canonical form: NFKC, trimmed, cased, `17850.0` as `17850`, blank as null."""
    normalized = pc.utf8_trim(pc.utf8_normalize(ids, form="NFKC"), characters=_TRIMMED)
    normalized = pc.replace_substring_regex(normalized, pattern=_FLOAT_ID, replacement=r"\1")
    if case == "upper":
        normalized = pc.utf8_upper(normalized)
    elif case == "lower":
        normalized = pc.utf8_lower(normalized)
    normalized = pc.utf8_normalize(normalized, form="NFKC")
    return pc.if_else(pc.equal(normalized, ""), pa.scalar(None, pa.string()), normalized)


def normalize_query(query: str | None) -> str | None:
    """Return a search query as it is grouped and published: NFKC, lower case, single blanks; blank becomes None."""
    if query is None:
        return None
    lowered = _squeeze(unicodedata.normalize("NFKC", _SURROGATE.sub("\ufffd", query))).lower()
    return unicodedata.normalize("NFKC", lowered) or None


def clean_text(text: str | None) -> str:
    """Return catalog text for reading and encoding: tags and entities removed, NFKC, single blanks."""
    if not text:
        return ""
    # Entities may hide tags (`&lt;b&gt;`), and some feeds escape twice, so entities go first, twice.
    plain = _TAG.sub(" ", html.unescape(html.unescape(text))) if "<" in text or "&" in text else text
    return _squeeze(unicodedata.normalize("NFKC", _SURROGATE.sub("\ufffd", plain)))


def _squeeze(text: str) -> str:
    return _BLANK.sub(" ", text).strip()
