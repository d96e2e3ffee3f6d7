"""Keyed hashes of users to forget: they tell the user in later inputs, and without the key lead to nobody.

They differ from the pseudonyms of the same key, so that a list of them names no row of any table.
"""

import hmac

import pyarrow as pa

_PURPOSE = b"suppressed user\0"
_CHECK = b"key of a suppression list"


def suppression_hashes(ids: pa.Array, key: bytes) -> pa.Array:
    """Return the HMAC-SHA-256 (64 hexadecimal digits) of each canonical id; null stays null."""
    distinct = ids.dictionary_encode()
    made = [None if each is None else suppression_hash(each, key) for each in distinct.dictionary.to_pylist()]
    return pa.array(made, pa.string()).take(distinct.indices)


def suppression_hash(id_: str, key: bytes) -> str:
    """Return the hash of one canonical id."""
    return hmac.digest(key, _PURPOSE + id_.encode("utf-8"), "sha256").hex()


def key_check(key: bytes) -> str:
    """Return what tells two keys apart and says nothing else of them."""
    return hmac.digest(key, _CHECK, "sha256").hex()[:16]
