"""Business dates and run identities."""

import re
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch import __version__
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.identity import (
    code_version,
    date_of_run,
    encoder_version,
    identify,
    new_run_id,
    parse_ds,
)

DS = date(2026, 2, 3)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.dates())
def test_a_date_is_read_back_from_its_text(day: date) -> None:
    assert parse_ds(f"{day.year:04d}-{day.month:02d}-{day.day:02d}") == day


@pytest.mark.parametrize(
    "text",
    [
        "2026-2-3",
        "20260203",
        "2026-02-30",
        "2026-W06-2",
        "2026-02-03T00:00:00",
        "2026/02/03",
        "0000-01-01",
        "２０２６-02-03",
        " 2026-02-03",
        "2026-02-03 ",
        "yesterday",
        "",
    ],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_ds(text)
    assert repr(text) in str(caught.value)
    assert "YYYY-MM-DD" in str(caught.value)


def test_the_order_in_which_versions_are_given_does_not_matter() -> None:
    one = identify(DS, "prepare", "s", {"events": "1", "items": "2"})
    other = identify(DS, "prepare", "s", {"items": "2", "events": "1"})
    assert one == other
    assert len(bytes.fromhex(one)) == 32


def test_each_part_changes_the_identity() -> None:
    identities = [
        identify(DS, "prepare", "s", {"events": "1"}),
        identify(date(2026, 2, 4), "prepare", "s", {"events": "1"}),
        identify(DS, "encode", "s", {"events": "1"}),
        identify(DS, "prepare", "t", {"events": "1"}),
        identify(DS, "prepare", "s", {"events": "2"}),
        identify(DS, "prepare", "s", {"items": "1"}),
        identify(DS, "prepare", "s", {"events": "1", "items": "1"}),
        identify(DS, "prepare", "s", {"events": "1"}, before="b"),
        identify(DS, "prepare", "s", {}),
    ]
    assert len(set(identities)) == len(identities)


def test_run_ids_carry_date_and_identity_and_never_repeat() -> None:
    ids = {new_run_id(DS, "0123456789abcdef") for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"20260203-01234567-[0-9a-f]{6}", run_id) for run_id in ids)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.dates(min_value=date(1000, 1, 1)))
def test_a_run_id_gives_its_date_back(day: date) -> None:
    assert date_of_run(new_run_id(day, "0123456789abcdef")) == day


@pytest.mark.parametrize(
    "name", ["notes", "20260203", "20261303-01234567-abcdef", "20260203-01234567-abcdef.bak", "20260203-0123456-abcdef"]
)
def test_other_names_are_no_run_ids(name: str) -> None:
    assert date_of_run(name) is None


def test_an_encoders_version_is_told_from_the_address_of_its_vectors_too() -> None:
    fingerprint = "0123456789abcdef" * 4
    assert encoder_version(fingerprint) == encoder_version(f"{fingerprint}-document") == "encoder:0123456789ab"


def test_the_code_version_names_the_release_and_the_source() -> None:
    assert re.fullmatch(re.escape(__version__) + r"\+[0-9a-f]{8}", code_version())
