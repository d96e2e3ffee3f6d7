"""When two titles say the same: the key that case, blanks and punctuation do not change. Knows no catalog."""

import re
import unicodedata

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
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", title).casefold())
        pieces = _pieces_with_marks(folded)
    key = ""
    for piece in pieces:
        key += f" {piece}" if key and key[-1].isnumeric() and piece[0].isnumeric() else piece
    # Letters that have become neighbors may compose (conjoining jamo), so the normal form comes last.
    return unicodedata.normalize("NFKC", key) or None


def _pieces_with_marks(text: str) -> list[str]:
    pieces: list[str] = []
    inside = False
    for char in text:
        is_mark = inside and pieces[-1][-1].isalpha() | (unicodedata.category(pieces[-1][-1])[0] == "M")
        if char.isalnum() or char.isnumeric():
            if inside:
                pieces[-1] += char
            else:
                pieces.append(char)
            inside = True
        elif is_mark and unicodedata.category(char)[0] == "M" and not _selects_a_glyph(char):
            pieces[-1] += char
        else:
            inside = False
    return pieces


def _selects_a_glyph(mark: str) -> bool:
    return "\ufe00" <= mark <= "\ufe0f" or mark == "\u034f" or mark >= "\U000e0100"
