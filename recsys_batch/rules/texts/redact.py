"""A configuration as flat rows that may be shown to others: what looks like a secret is left out."""

import re
from collections.abc import Iterator, Mapping, Sequence

HIDDEN = "(hidden)"
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:passwords?|passwd|pwd|secrets?|token|credentials?|(?:api|access|account|private|secret|shared)_?key|sas)"
    r"(?:_|$)"
)
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
_SIGNATURE = re.compile(
    r"(?<=[?&])((?:[\w.-]*(?:signature|token|credential|secret|password)|sig)=)[^&\s]+", re.IGNORECASE
)


def flatten_config(config: Mapping[str, object]) -> dict[str, str | int | float | bool | None]:
    """Return dotted path -> value. The text under a name such as `password`, `apiKey` or `fs.s3a.secret.key`, user
    information in a URL, and signatures in its query are hidden.
    """
    return {
        ".".join(parts): HIDDEN if isinstance(value, str) and value and _is_secret(parts) else _plain(value)
        for parts, value in _leaves(config, ())
    }


def redact_text(text: str) -> str:
    """Return a text without the user information and signatures of the URLs in it."""
    return _SIGNATURE.sub(rf"\1{HIDDEN}", _USER_INFO.sub(f"{HIDDEN}@", text))


def _leaves(node: object, parts: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, (*parts, str(key)))
    elif isinstance(node, Sequence) and not isinstance(node, str | bytes):
        for place, value in enumerate(node):
            yield from _leaves(value, (*parts, str(place)))
    else:
        yield parts, node


def _is_secret(parts: tuple[str, ...]) -> bool:
    words = _CAPITAL.sub("_", "_".join(parts)).lower()
    return bool(_SECRET_NAME.search(re.sub(r"[^a-z0-9]+", "_", words)))


def _plain(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact_text(str(value))
