"""The order of attributes says nothing; a model should not read it."""

import re

import numpy as np

_PAIR = r"[^;；:：.。]{1,60}[:：][^;；]+"
_LIST = re.compile(rf"{_PAIR}(?:[;；]\s*{_PAIR})+")
_BETWEEN = re.compile(r"([;；]\s*)")
_ENDER = re.compile(r"[.。]?\s*$")


def shuffle_attributes(text: str, rng: np.random.Generator) -> str:
    """Return the text with each list of attributes (`name: value; name: value`) in another order, all else as it is."""

    def shuffle(found: re.Match[str]) -> str:
        listed = found.group()
        ender = _ENDER.search(listed)
        end = ender.start() if ender else len(listed)
        lead = len(listed) - len(listed.lstrip())
        parts = _BETWEEN.split(listed[lead:end])
        pairs = parts[::2]
        order = rng.permutation(len(pairs))
        parts[::2] = [pairs[place] for place in order]
        return listed[:lead] + "".join(parts) + listed[end:]

    return _LIST.sub(shuffle, text)
