"""Slips of the keyboard, to train against them and to measure what they cost."""

import re
import unicodedata
from typing import Final

import numpy as np

_ROWS: Final = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")


def _neighbors() -> dict[str, str]:
    places = {key: (row, column) for row, keys in enumerate(_ROWS) for column, key in enumerate(keys)}
    return {
        key: "".join(
            sorted(
                other
                for other, (r, c) in places.items()
                if other != key
                and abs(r - row) <= 1
                and c - column in ((0, -1) if r > row else (0, 1) if r < row else (-1, 1))
            )
        )
        for key, (row, column) in places.items()
    }


_NEIGHBORS: Final = _neighbors()
_KINDS: Final = ("neighbor", "omit", "double", "transpose")


def add_typos(text: str, share: float, rng: np.random.Generator) -> str:
    """Return the text with each letter or digit mistyped with probability `share`.

    A slip is a key next to the right one on a QWERTY keyboard, a letter left out, struck twice, or in the place of the
    one that follows. Of Chinese, which is typed by sound, characters are left out or change places. A word of one
    character is never left out, so that no text becomes empty.
    """
    characters = list(text)
    slips = rng.random(len(characters)) < share
    kinds, choices = rng.integers(len(_KINDS), size=len(characters)), rng.random(len(characters))
    made: list[str] = []
    place = 0
    while place < len(characters):
        character = characters[place]
        following = characters[place + 1] if place + 1 < len(characters) else ""
        if not slips[place] or not character.isalnum():
            made.append(character)
        elif (kind := _kind(character, _KINDS[kinds[place]])) == "neighbor":
            made.append(_beside(character, float(choices[place])))
        elif kind == "double":
            made.append(character * 2)
        elif following.isalnum():
            if kind == "transpose":
                made += [following, character]
                place += 1
        else:
            made.append(character)
        place += 1
    return unicodedata.normalize("NFC", "".join(made))


def _kind(character: str, kind: str) -> str:
    """Return the kind of slip that this character allows."""
    if _CHINESE.match(character):
        return {"neighbor": "transpose", "double": "omit"}.get(kind, kind)
    if kind == "neighbor" and character.lower() not in _NEIGHBORS:
        return "transpose"
    return kind


def _beside(character: str, choice: float) -> str:
    keys = _NEIGHBORS[character.lower()]
    key = keys[int(choice * len(keys))]
    return key.upper() if character.isupper() else key
