"""When two titles say the same: the key that case, blanks and punctuation do not change. Knows no catalog."""

import re
import unicodedata
from itertools import pairwise

from recsys_batch.rules.texts.clean import stream_safe

# Letters and digits of any script; the underscore is the one other character that `\w` lets through.
_LETTER_OR_DIGIT = r"[^\W_]"
_PIECE = re.compile(rf"{_LETTER_OR_DIGIT}+")


def title_key(title: str | None) -> str | None:
    """Return what a title comes down to: NFKC, case folded, only letters and digits; None where nothing is left.

    Two things are kept because they tell products apart: numbers that something separates stay apart (`1.5 l` is not
    `15 l`), and marks that belong to a letter stay with it (vowel signs of Hindi and Thai, accents).
    """
    if not title:
        return None
    if title.isascii():
        pieces = _PIECE.findall(title.lower())
    else:
        folded = stream_safe(unicodedata.normalize("NFKC", stream_safe(title)).casefold())
        pieces = _pieces_with_marks(unicodedata.normalize("NFKC", folded))
    apart = [before[-1].isnumeric() and piece[0].isnumeric() for before, piece in pairwise(pieces)]
    key = "".join(f" {piece}" if split else piece for split, piece in zip([False, *apart], pieces, strict=False))
    # Letters that have become neighbors may compose (conjoining jamo), so the normal form comes last.
    return unicodedata.normalize("NFKC", key) or None


def _pieces_with_marks(text: str) -> list[str]:
    pieces: list[str] = []
    piece: list[str] = []
    for char in text:
        follows = bool(piece) and (piece[-1].isalpha() or unicodedata.category(piece[-1])[0] == "M")
        is_mark = follows and unicodedata.category(char)[0] == "M" and not _selects_a_glyph(char)
        if char.isalnum() or char.isnumeric() or is_mark:
            piece.append(char)
        elif piece:
            pieces.append("".join(piece))
            piece = []
    return [*pieces, "".join(piece)] if piece else pieces


def _selects_a_glyph(mark: str) -> bool:
    return "\ufe00" <= mark <= "\ufe0f" or mark == "\u034f" or mark >= "\U000e0100"
