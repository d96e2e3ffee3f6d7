"""Keyed pseudonyms of user ids: the same id and key give the same pseudonym, and without the key none leads back.

Knows nothing of where ids come from; they must be canonical before (`rules.texts.clean.canonicalize_ids`).
"""

import hmac
from collections.abc import Mapping

import pyarrow as pa

from recsys_batch.contracts.errors import ConfigError

_MIN_KEY_LENGTH = 16
# 128 bits: two of a billion users share a pseudonym with a chance of 1 in 10 ** 21.
_LENGTH = 32


def pseudonymize(ids: pa.Array, key: bytes) -> pa.Array:
    """Return the first 32 hexadecimal digits of the HMAC-SHA-256 of each id's UTF-8 bytes; null stays null."""
    # Events of one user come close together, and hashing costs ten times what finding the distinct ids does.
    distinct = ids.dictionary_encode()
    keyed = hmac.new(key, digestmod="sha256")
    made = [None if id_ is None else _pseudonym(keyed, id_) for id_ in distinct.dictionary.to_pylist()]
    return pa.array(made, pa.string()).take(distinct.indices)


def read_key(variable: str, environ: Mapping[str, str], setting: str = "prepare.pseudonymize_with") -> bytes:
    """Return the secret key that the environment variable holds, which the `setting` of the config names.

    Raises ConfigError, which names the variable and never its value, where it is unset or shorter than 16 characters.
    """
    value = environ.get(variable)
    if value is None:
        raise ConfigError(
            f"{setting}: the environment variable {variable} is not set; give it a secret of at least "
            f"{_MIN_KEY_LENGTH} characters, the same every night, or the users change their pseudonyms"
        )
    if len(value) < _MIN_KEY_LENGTH:
        raise ConfigError(
            f"{setting}: the environment variable {variable} holds {len(value)} character(s); a key "
            f"of fewer than {_MIN_KEY_LENGTH} could be guessed"
        )
    # Bytes that are no text reach Python as lone surrogates; this gives the bytes back.
    return value.encode("utf-8", "surrogateescape")


def _pseudonym(keyed: hmac.HMAC, id_: str) -> str:
    code = keyed.copy()
    code.update(id_.encode("utf-8"))
    return code.hexdigest()[:_LENGTH]
