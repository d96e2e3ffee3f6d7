"""Team-draft interleaving against the algorithm as it is printed, and what it promises."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.rules.metrics.interleaving import judge_preference, team_draft

RANKINGS = st.lists(st.sampled_from("abcdefgh"), max_size=10)


def printed_algorithm(a: list[str], b: list[str], bits: list[int]) -> list[tuple[str, str]]:
    """Algorithm 2 of Radlinski et al. (2008), line by line; a bit of 1 lets A pick."""
    interleaved: list[tuple[str, str]] = []
    team_a: list[str] = []
    team_b: list[str] = []
    taken: list[str] = []
    while any(item not in taken for item in a) and any(item not in taken for item in b):
        if len(team_a) < len(team_b) or (len(team_a) == len(team_b) and bits.pop(0) == 1):
            k = min(i for i, item in enumerate(a) if item not in taken)
            interleaved.append((a[k], "A"))
            team_a.append(a[k])
            taken.append(a[k])
        else:
            k = min(i for i, item in enumerate(b) if item not in taken)
            interleaved.append((b[k], "B"))
            team_b.append(b[k])
            taken.append(b[k])
    return interleaved


@given(RANKINGS, RANKINGS, st.integers(1, 20), st.text(max_size=5))
@settings(max_examples=200, deadline=None)
def test_equals_the_printed_algorithm(a: list[str], b: list[str], length: int, coin: str) -> None:
    ours = team_draft(a, b, length, coin)
    drafted = [pick for pick in ours if pick[1] is not None]
    # The coin of a round is what its first pick says; coins of rounds that length cuts off may be anything.
    bits = [int(team == "A") for _, team in drafted[::2]] + [0] * 20
    expected = printed_algorithm(a, b, bits)
    assert drafted == expected[:length]
    # What is left of the longer ranking follows, in its order and without a team.
    rest = [item for item in dict.fromkeys([*a, *b]) if item not in dict(expected)]
    assert ours[len(drafted) :] == [(item, None) for item in rest][: length - len(drafted)]


@given(RANKINGS, RANKINGS, st.integers(1, 8), st.text(max_size=5))
@settings(max_examples=200, deadline=None)
def test_lists_are_full_distinct_and_fair(a: list[str], b: list[str], length: int, coin: str) -> None:
    ours = team_draft(a, b, length, coin)
    items = [item for item, _ in ours]
    assert len(items) == len(set(items)) == min(length, len({*a, *b}))
    teams = Counter(team for _, team in ours)
    assert abs(teams["A"] - teams["B"]) <= 1
    assert team_draft(a, b, length, coin) == ours
    shorter = team_draft(a, b, max(1, length - 1), coin)
    assert ours[: len(shorter)] == shorter


@given(RANKINGS, st.integers(1, 8), st.text(max_size=5))
@settings(max_examples=50, deadline=None)
def test_two_equal_rankings_stay_as_they_are(ranking: list[str], length: int, coin: str) -> None:
    assert [item for item, _ in team_draft(ranking, ranking, length, coin)] == list(dict.fromkeys(ranking))[:length]


def test_coins_are_fair_and_independent() -> None:
    # Disjoint rankings of six: rounds 1 to 3 each begin with A or B, eight ways.
    rounds = Counter(
        tuple(team for _, team in team_draft("abcdef", "uvwxyz", 6, f"7:user{n}")[::2]) for n in range(8_000)
    )
    assert len(rounds) == 8
    deviation = math.sqrt(8_000 * 1 / 8 * 7 / 8)
    assert max(abs(count - 1_000) for count in rounds.values()) < 4 * deviation


def test_another_seed_tosses_other_coins() -> None:
    first, second = ([team_draft("ab", "xy", 2, f"{seed}:u{n}") for n in range(200)] for seed in (0, 1))
    # Equal where both coins fell alike: half of them.
    assert sum(x == y for x, y in zip(first, second, strict=True)) == pytest.approx(100, abs=4 * math.sqrt(50))


def test_clicks_by_position_alone_prefer_neither() -> None:
    """A shopper who clicks the first item whatever it is, on rankings that differ in everything."""
    first = Counter(team_draft("abcd", "wxyz", 4, f"u{n}")[0][1] for n in range(4_000))
    assert first["A"] == pytest.approx(2_000, abs=4 * math.sqrt(1_000))


def test_judgement_by_arithmetic() -> None:
    found = judge_preference(wins_a=30, wins_b=18, ties=12, without_click=40)
    assert found.delta.mean == pytest.approx((30 + 12 / 2) / 60 - 0.5)
    # The binomial tail, both sides: 30 or more, or 18 or fewer, of 48.
    tail = sum(math.comb(48, wins) for wins in range(19)) / 2**48
    assert found.p_value == pytest.approx(2 * tail)
    # 60 scores of 1/2, 0 and -1/2: the bootstrap is near the normal interval.
    deviation = math.sqrt((30 * 0.4**2 + 18 * 0.6**2 + 12 * 0.1**2) / 60)
    reach = 1.96 * deviation / math.sqrt(60)
    assert (found.delta.low, found.delta.high) == pytest.approx((0.1 - reach, 0.1 + reach), abs=0.15 * reach)
    swapped = judge_preference(wins_a=18, wins_b=30, ties=12)
    assert (swapped.delta.mean, swapped.p_value) == pytest.approx((-0.1, found.p_value))
    undecided = judge_preference(wins_a=0, wins_b=0, ties=5)
    assert (undecided.delta.mean, undecided.p_value) == (0, 1)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="length must be 1 or more, not 0"):
        team_draft("a", "b", 0, "x")
    with pytest.raises(ValueError, match="1 keys with a click: a preference needs two or more"):
        judge_preference(1, 0, 0, 99)
    with pytest.raises(ValueError, match="ties -1: counts must be 0 or more"):
        judge_preference(3, 3, -1)
