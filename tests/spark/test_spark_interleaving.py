"""Interleaved lists on Spark against the draft of each key alone, and the scoring of clicks by arithmetic."""

import numpy as np
import pytest

from recsys_batch.rules.metrics.interleaving import team_draft
from recsys_batch.spark.evaluation.interleaving import interleave_lists, score_interleaving
from recsys_batch.spark.session import make_frame

LISTS = "user_id STRING, item_id STRING, rank INT"
SHOWN = "user_id STRING, rank INT, item_id STRING, team STRING"
CLICKS = "user_id STRING, item_id STRING"


def test_each_key_is_drafted_as_it_would_be_alone(spark) -> None:
    rng = np.random.default_rng(6)
    draws = [
        {f"u{n:02d}": "".join(rng.permutation(list("abcdefgh"))[: rng.integers(1, 8)]) for n in range(40)} for _ in "AB"
    ]
    # One key is only in A, one only in B; one has a name that is not ASCII.
    del draws[0]["u01"], draws[1]["u00"]
    a, b = ({key.replace("u02", "用户"): items for key, items in draw.items()} for draw in draws)
    expected = {
        (key, rank): pick
        for key in {*a, *b}
        for rank, pick in enumerate(team_draft(a.get(key, ""), b.get(key, ""), 5, f"9:{key}"), 1)
    }
    frames = [
        make_frame(spark, [(u, item, 2 * rank) for u, items in lists.items() for rank, item in enumerate(items)], LISTS)
        for lists in (a, b)
    ]
    for partitions in (1, 5):
        split = [frame.repartition(partitions, "item_id") for frame in frames]
        rows = interleave_lists(*split, length=5, seed=9).collect()
        assert {(row.user_id, row["rank"]): (row.item_id, row.team) for row in rows} == expected
        assert len(rows) == len(expected)
    assert {team for (key, _), (_, team) in expected.items() if key in ("u00", "u01")} == {None}


def test_scores_by_arithmetic(spark) -> None:
    page = [(1, "a", "A"), (2, "x", "B"), (3, "b", "A"), (4, "y", "B"), (5, "n", None)]
    interleaved = make_frame(spark, [(user, *row) for user in "123456" for row in page], SHOWN)
    clicked = {"1": "ab", "2": "ax", "3": "xxy", "4": "n", "5": "aax", "6": "ay?b"}
    clicks = make_frame(
        spark, [(user, item) for user, items in clicked.items() for item in items] + [("7", "a")], CLICKS
    )
    found = score_interleaving(interleaved, clicks)
    # 1 and 6 prefer A, 3 prefers B, 2 and 5 neither (a click again is the same click), 4 clicked no team's item.
    assert (found.wins_a, found.wins_b, found.ties, found.without_click) == (2, 1, 2, 1)
    assert found.delta.mean == pytest.approx((2 + 2 / 2) / 5 - 0.5)
    assert found.p_value == 1.0  # 2 of 3, or worse, on either side


def test_refusals(spark) -> None:
    lists = make_frame(spark, [("1", "a", 1)], LISTS)
    with pytest.raises(ValueError, match="length must be 1 or more, not 0"):
        interleave_lists(lists, lists, length=0)
    with pytest.raises(ValueError, match="lists lacks the columns rank"):
        interleave_lists(lists.drop("rank"), lists, length=1)
    with pytest.raises(ValueError, match="interleaved lacks the columns team"):
        score_interleaving(lists, lists)
