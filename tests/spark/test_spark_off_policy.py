"""Off-policy estimates of lists on Spark against the same in NumPy, slot by slot, and against arithmetic."""

from collections.abc import Sequence

import numpy as np
import pytest

from recsys_batch.rules.metrics.off_policy import LoggedActions, estimate_value
from recsys_batch.rules.metrics.propensity import PositionCurve
from recsys_batch.spark.evaluation.off_policy import estimate_lists
from recsys_batch.spark.session import make_frame

IMPRESSIONS = "user_id STRING, page STRING, item_id STRING, position INT, propensity DOUBLE, reward DOUBLE"
LISTS = "user_id STRING, item_id STRING, rank INT"
PREDICTIONS = "user_id STRING, item_id STRING, position INT, predicted DOUBLE"
CURVE = PositionCurve((1, 2, 4), (1.0, 0.6, 0.3), (9, 9, 9), (1.0, 0.5, 0.2), (9.0, 9.0, 9.0))
LOOKED_AT = {1: 1.0, 2: 0.6, 3: 0.6, 4: 0.3}
ITEMS = "abcdef"


@pytest.fixture(scope="module")
def log() -> tuple[list[tuple], dict[str, str], dict[tuple, float]]:
    """Pages of four slots of 30 users, lists (some shorter, one key without) and predictions of every item and slot."""
    rng = np.random.default_rng(4)
    rows, lists = [], {}
    for user in (f"u{n:02d}" for n in range(30)):
        for page in range(int(rng.integers(1, 4))):
            shown = rng.permutation(list(ITEMS))[:4]
            rows += [
                (user, f"{user}/{page}", str(item), place, float(rng.uniform(0.1, 1)), float(rng.integers(0, 3)))
                for place, item in enumerate(shown, 1)
            ]
        lists[user] = "".join(rng.permutation(list(ITEMS))[: int(rng.integers(2, 7))])
    del lists["u29"]
    predicted = {(user, item, place): float(rng.random()) for user in lists for item in ITEMS for place in range(1, 7)}
    return rows, lists, predicted


@pytest.fixture(scope="module")
def frames(spark, log):
    rows, lists, predicted = log
    listed = [(user, item, 10 * rank) for user, items in lists.items() for rank, item in enumerate(items, 1)]
    return (
        make_frame(spark, rows, IMPRESSIONS).cache(),
        # Ranks with gaps, an item twice, and a user who was shown nothing.
        make_frame(spark, [*listed, ("u00", lists["u00"][0], 99), ("stranger", "a", 1)], LISTS).cache(),
        make_frame(spark, [(*at, value) for at, value in predicted.items()], PREDICTIONS).cache(),
    )


def same_values(ours: Sequence, log: LoggedActions, methods: Sequence[str], max_weight: float | None = None) -> None:
    assert [found.method for found in ours] == list(methods)
    for found in ours:
        expected = estimate_value(log, found.method, max_weight=max_weight)
        # The data decide which warnings there are; both have few units.
        assert len(found.warnings) == len(expected.warnings)
        assert vars(found.interval) == pytest.approx(vars(expected.interval), rel=0, abs=1e-9)
        names = ("num_units", "effective_units", "mean_weight", "clipped_share")
        assert [getattr(found, n) for n in names] == pytest.approx([getattr(expected, n) for n in names], abs=1e-9)


def test_item_position_model_equals_numpy(log, frames) -> None:
    rows, lists, predicted = log
    used = [row for row in rows if row[0] in lists]
    shown = [lists[user][place - 1 : place] for user, _, _, place, _, _ in used]  # empty beyond the list
    expected = LoggedActions(
        np.array([row[5] for row in used]),
        np.array([row[4] for row in used]),
        np.array([float(here == row[2]) for here, row in zip(shown, used, strict=True)]),
        np.array([predicted[user, item, place] for user, _, item, place, _, _ in used]),
        np.array([predicted[row[0], here, row[3]] if here else 0.0 for here, row in zip(shown, used, strict=True)]),
        np.array([row[0] for row in used]),
    )
    impressions, listed, predictions = frames
    all_methods = ("ips", "snips", "dm", "dr")
    same_values(estimate_lists(impressions, listed, predictions=predictions), expected, all_methods)
    clipped = estimate_lists(impressions.repartition(3), listed, max_weight=2.0)
    same_values(clipped, expected, ("ips", "snips"), max_weight=2.0)
    assert clipped[0].clipped_share > 0


def test_position_based_model_equals_numpy(log, frames) -> None:
    rows, lists, predicted = log
    k = 3
    used = [row for row in rows if row[0] in lists and row[3] <= k]
    cut = {user: items[:k] for user, items in lists.items()}
    looked_at_N = np.array([LOOKED_AT[row[3]] for row in used])

    def log_of(propensities: Sequence[float], unit: int) -> LoggedActions:
        return LoggedActions(
            np.array([row[5] for row in used]),
            np.array(propensities),
            np.array([LOOKED_AT[cut[u].index(i) + 1] if i in cut[u] else 0.0 for u, _, i, *_ in used]),
            looked_at_N * [predicted[u, i, 1] for u, _, i, *_ in used],
            looked_at_N * [predicted[u, cut[u][p - 1], 1] if p <= len(cut[u]) else 0.0 for u, _, _, p, *_ in used],
            np.array([row[unit] for row in used]),
            looked_at_N,
        )

    impressions, listed, predictions = frames
    ours = estimate_lists(
        impressions, listed, curve=CURVE, k=k, predictions=predictions.where("position = 1").drop("position")
    )
    same_values(ours, log_of([row[4] for row in used], unit=0), ("ips", "snips", "dm", "dr"))
    # Without propensities an item is taken to be always where it was logged; here by page.
    ours = estimate_lists(impressions.drop("propensity"), listed, curve=CURVE, k=k, unit="page")
    same_values(ours, log_of(looked_at_N.tolist(), unit=1), ("ips", "snips"))


def test_lists_by_arithmetic(spark) -> None:
    # The logger shows a b or b a by a coin; the list is b a. Clicks: a at position 2 of page 1, a at 1 of page 2.
    impressions = make_frame(
        spark,
        [
            *(("u", "1", "b", 1, 0.5, 0.0), ("u", "1", "a", 2, 0.5, 1.0)),
            *(("u", "2", "a", 1, 0.5, 1.0), ("u", "2", "b", 2, 0.5, 0.0)),
        ],
        IMPRESSIONS,
    )
    lists = make_frame(spark, [("u", "b", 1), ("u", "a", 2)], LISTS)
    ips, snips = estimate_lists(impressions, lists, unit="page")
    assert (ips.value, snips.value) == pytest.approx(((2 * 0 + 2 * 1) / 4, (2 * 0 + 2 * 1) / (2 + 2)))
    assert (ips.num_units, ips.effective_units, ips.mean_weight) == (2, pytest.approx(1), pytest.approx(1))
    assert ips.warnings[0].startswith("few units carry the estimate: an effective sample of 1.0 of 2 units")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            ("u", "2", "b", 2, 1.5, 0.0),
            "user_id u, item_id b, position 2, propensity 1.5, reward 0.0: propensity must be",
        ),
        (("u", "2", "b", 2, float("nan"), 0.0), "propensity NaN, reward 0.0: propensity must be above 0 and at most 1"),
        (("u", "2", "b", None, 0.5, 0.0), "position null, propensity 0.5, reward 0.0: position must be 1 or more"),
        (("u", "2", "b", 2, 0.5, None), "reward null: reward must be finite"),
    ],
)
def test_wrong_impressions_are_refused(spark, row: tuple, message: str) -> None:
    impressions = make_frame(spark, [("u", "1", "a", 1, 0.5, 1.0), row], IMPRESSIONS)
    with pytest.raises(ValueError, match=message):
        estimate_lists(impressions, make_frame(spark, [("u", "a", 1)], LISTS), unit="page")


def test_what_cannot_be_estimated_is_refused(frames) -> None:
    impressions, lists, predictions = frames
    with pytest.raises(ValueError, match="impressions lacks the columns propensity; it has user_id, page"):
        estimate_lists(impressions.drop("propensity"), lists)
    with pytest.raises(ValueError, match="predictions lacks the columns position"):
        estimate_lists(impressions, lists, predictions=predictions.drop("position"))
    with pytest.raises(ValueError, match=r"position 2, .*: predictions lacks a finite one for it"):
        estimate_lists(impressions, lists, predictions=predictions.where("position <> 2"))
    with pytest.raises(ValueError, match="impressions: 1 units with a list"):
        estimate_lists(impressions, lists.where("user_id = 'u01'"))
    with pytest.raises(ValueError, match=r"from 1 on, not \(0,\)"):
        estimate_lists(impressions, lists, k=0)
    with pytest.raises(ValueError, match="max_weight must be above 0, not 0"):
        estimate_lists(impressions, lists, max_weight=0)
    with pytest.raises(ValueError, match="the curve has no position"):
        estimate_lists(impressions, lists, curve=PositionCurve((), (), (), (), ()))
