"""Hashes of suppressed users against HMAC written out by its definition."""

import pyarrow as pa

from recsys_batch.rules.pseudonyms import pseudonymize
from recsys_batch.rules.suppression import key_check, suppression_hash, suppression_hashes
from tests.rules.test_pseudonyms import KEY, hmac_sha256


def test_hashes_are_keyed_and_no_pseudonyms() -> None:
    ids = ["17850", None, "客户-7", "17850"]
    expected = [None if i is None else hmac_sha256(KEY, b"suppressed user\0" + i.encode()) for i in ids]
    made = suppression_hashes(pa.array(ids, pa.string()), KEY)
    assert made.to_pylist() == expected
    assert suppression_hash("17850", KEY) == expected[0]
    # Nobody finds the row of a pseudonym by the list.
    pseudonym = pseudonymize(pa.array(["17850"]), KEY)[0].as_py()
    assert pseudonym not in made.to_pylist()[0]
    assert suppression_hashes(pa.array([None], pa.string()), KEY).to_pylist() == [None]


def test_a_key_is_told_from_another_one() -> None:
    assert key_check(KEY) == hmac_sha256(KEY, b"key of a suppression list")[:16]
    assert key_check(KEY) != key_check(KEY + b"!")
