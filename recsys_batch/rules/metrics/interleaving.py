"""Two rankings in one list, and which of them the clicks prefer: team-draft interleaving (Radlinski et al., 2008).

As captains pick teams: in each round a coin says which ranking picks first, and each picks its best item that is not in
the list yet. A click counts for the team of the item. Knows no table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import shake_256

import numpy as np

from recsys_batch.rules.metrics.paired_tests import Interval, bootstrap_counts

TEAMS = ("A", "B")


@dataclass(frozen=True)
class Preference:
    """How often the clicks of a key preferred A, or B, of two interleaved rankings."""

    wins_a: int
    wins_b: int
    ties: int
    """Keys with as many clicks on A's items as on B's, and at least one."""
    without_click: int
    """Keys that say nothing: no click on an item of either team."""
    delta: Interval
    """(wins of A + ties / 2) / (wins + ties) - 1/2, from -1/2 to 1/2 (Chapelle et al., 2012); 0: alike."""
    p_value: float
    """Of "A and B are alike": the two-sided exact sign test over the keys that prefer one."""


def team_draft(items_a: Sequence[str], items_b: Sequence[str], length: int, coin: str) -> list[tuple[str, str | None]]:
    """Return up to `length` (item, team) from two rankings, best first; an item counts at its first place.

    `coin` decides all tosses: the same text gives the same list, here and anywhere. Where one ranking has no item left,
    the list ends in the original method; here the other one's items follow without a team, so that nobody is shown
    less, and clicks on them count for neither. Raises ValueError where `length` is below 1.
    """
    if length < 1:
        raise ValueError(f"length must be 1 or more, not {length}")
    tosses = np.unpackbits(np.frombuffer(shake_256(coin.encode()).digest(-(-length // 8)), dtype=np.uint8))
    # An item is picked once: what a ranking has left is a dict in its order.
    left = {"A": dict.fromkeys(items_a), "B": dict.fromkeys(items_b)}
    drafted: list[tuple[str, str | None]] = []
    while len(drafted) < length and left["A"] and left["B"]:
        first = tosses[len(drafted) // 2]
        # The second picks right after the first: an even number is drafted where a round begins.
        team = TEAMS[first if len(drafted) % 2 == 0 else 1 - first]
        item = next(iter(left[team]))
        drafted.append((item, team))
        for ranking in left.values():
            ranking.pop(item, None)
    rest = list(left["A"] or left["B"])
    return drafted + [(item, None) for item in rest[: length - len(drafted)]]


def judge_preference(wins_a: int, wins_b: int, ties: int, without_click: int = 0, *, seed: int = 0) -> Preference:
    """Return which ranking is preferred, with the bootstrap interval of delta over keys and the sign test.

    Raises ValueError where a count is negative or fewer than two keys have a click.
    """
    counts = {"wins of A": wins_a, "wins of B": wins_b, "ties": ties, "keys without a click": without_click}
    if negative := [f"{name} {count}" for name, count in counts.items() if count < 0]:
        raise ValueError(f"{', '.join(negative)}: counts must be 0 or more")
    if wins_a + wins_b + ties < 2:
        raise ValueError(f"{wins_a + wins_b + ties} keys with a click: a preference needs two or more")
    from scipy import stats  # takes most of a second, and a night compares nothing

    scores_D = np.array([-0.5, 0.0, 0.5])
    delta = bootstrap_counts(scores_D, np.array([wins_b, ties, wins_a]), seed=seed)
    decided = wins_a + wins_b
    p_value = float(stats.binomtest(wins_a, decided, 0.5).pvalue) if decided else 1.0
    return Preference(wins_a, wins_b, ties, without_click, delta, p_value)
