"""Pseudonyms against HMAC written out by its definition (RFC 2104) and a published test vector."""

import hashlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.contracts.errors import ConfigError
from recsys_batch.rules.pseudonyms import pseudonymize, read_key

quick = settings(derandomize=True, max_examples=100, deadline=None)
KEY = b"a key of the shop"
IDS = st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), max_size=12)


def hmac_sha256(key: bytes, message: bytes) -> str:
    """Say what RFC 2104 says: H(key ^ opad, H(key ^ ipad, message))."""
    block = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).hexdigest()


def test_a_published_test_vector() -> None:
    # RFC 4231, test case 2.
    made = pseudonymize(pa.array(["what do ya want for nothing?"]), b"Jefe")
    assert made.to_pylist() == ["5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"[:32]]


@quick
@given(IDS, st.binary(min_size=1, max_size=80))
def test_every_id_gets_its_hmac_and_null_stays_null(ids: list[str | None], key: bytes) -> None:
    made = pseudonymize(pa.array(ids, pa.string()), key)
    assert made.type == pa.string()
    assert made.to_pylist() == [None if i is None else hmac_sha256(key, i.encode())[:32] for i in ids]


@quick
@given(IDS, st.integers(0, 12))
def test_where_an_array_is_cut_changes_nothing(ids: list[str | None], at: int) -> None:
    whole = pa.array(ids, pa.string())
    parts = [pseudonymize(part, KEY).to_pylist() for part in (whole[:at], whole[at:])]
    assert parts[0] + parts[1] == pseudonymize(whole, KEY).to_pylist()


def test_the_key_is_read_as_it_stands() -> None:
    assert read_key("SHOP_KEY", {"SHOP_KEY": " sixteen letters "}) == b" sixteen letters "
    assert read_key("SHOP_KEY", {"SHOP_KEY": "钥匙" * 8}) == ("钥匙" * 8).encode()
    # A byte that is no UTF-8 is a lone surrogate in os.environ.
    assert read_key("SHOP_KEY", {"SHOP_KEY": "\udcff" * 16}) == b"\xff" * 16


@pytest.mark.parametrize("environ", [{}, {"SHOP_KEY": ""}, {"SHOP_KEY": "fifteen-letters"}, {"shop_key": "x" * 40}])
def test_a_missing_or_short_key_is_refused_by_name_and_never_shown(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="SHOP_KEY") as caught:
        read_key("SHOP_KEY", environ)
    assert caught.value.exit_code == 2
    assert "fifteen-letters" not in str(caught.value)
