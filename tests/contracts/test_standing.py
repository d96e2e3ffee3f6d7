"""Which release stands, by cases."""

from datetime import UTC, datetime

from recsys_batch.contracts.standing import standing_release


def release(name: str, minute: int) -> dict[str, object]:
    return {"release_id": name, "published_at": datetime(2026, 6, 30, 4, minute, tzinfo=UTC)}


def test_the_claim_decides_and_no_clock() -> None:
    # b was published by a machine whose clock is slow.
    releases = [release("a", 30), release("b", 10)]
    assert standing_release(releases, {"release_id": "b", "replaces": "a"}) == releases[1]


def test_what_is_under_way_does_not_stand_yet() -> None:
    releases = [release("a", 10), release("b", 20)]
    assert standing_release(releases, {"release_id": "c", "replaces": "a"}) == releases[0]
    assert standing_release([], {"release_id": "c", "replaces": None}) is None


def test_without_claims_the_newest_stands() -> None:
    assert standing_release([release("a", 20), release("b", 10)], None) == release("a", 20)
    assert standing_release([release("a", 20), release("b", 20)], None) == release("b", 20)
    assert standing_release([], None) is None
