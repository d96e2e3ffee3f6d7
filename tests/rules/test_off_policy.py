"""Off-policy estimates against Open Bandit Pipeline (see benchmarks/off_policy_peer.py) and against arithmetic."""

import json
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.rules.metrics.off_policy import (
    SUMS,
    LoggedActions,
    UnitMoments,
    estimate_from_moments,
    estimate_value,
    sum_units,
)

PEER = json.loads((Path(__file__).parent / "data/off_policy_peer.json").read_text(encoding="utf-8"))
Z = NormalDist().inv_cdf(0.975)


def of_peer(case: str) -> LoggedActions:
    log = PEER["cases"][case]["log"]
    return LoggedActions(**{f"{name}_N": np.array(values) for name, values in log.items() if name != "positions"})


@pytest.mark.parametrize("case", ["clicks", "revenue"])
def test_choices_equal_the_peer(case: str) -> None:
    log, expected = of_peer(case), PEER["cases"][case]["expected"]
    ours = {method: estimate_value(log, method).value for method in ("ips", "snips", "dm", "dr")}
    ours |= {f"{m} clipped": estimate_value(log, m, max_weight=PEER["max_weight"]).value for m in ("ips", "dr")}
    assert ours == pytest.approx(expected, rel=0, abs=1e-9)


def test_pages_equal_the_peer() -> None:
    pages, log, slots = PEER["cases"]["pages"], of_peer("pages"), PEER["slots"]
    # The peer sums over the slots of a page, and divides by the mean weight of each slot.
    assert slots * estimate_value(log, "ips").value == pytest.approx(pages["expected"]["ips"], rel=0, abs=1e-9)
    positions_N = np.array(pages["log"]["positions"])
    by_slot = [
        LoggedActions(log.rewards_N[here_N], log.propensities_N[here_N], log.targets_N[here_N])
        for here_N in (positions_N == slot for slot in range(slots))
    ]
    ours = sum(estimate_value(slot, "snips").value for slot in by_slot)
    assert ours == pytest.approx(pages["expected"]["snips by slot"], rel=0, abs=1e-9)


@pytest.mark.parametrize(("case", "method"), [("clicks", "ips"), ("clicks", "dr"), ("revenue", "dr"), ("pages", "ips")])
def test_bootstrap_is_the_peers(case: str, method: str) -> None:
    scale = PEER["slots"] if case == "pages" else 1
    ours = estimate_value(of_peer(case), method, interval="bootstrap", num_samples=20_000, seed=5).interval
    low, high = PEER["cases"][case]["bootstrap"][method]
    # Two draws of 20,000 means agree to a few hundredths of the interval's width.
    assert (ours.low * scale, ours.high * scale) == pytest.approx((low, high), abs=0.04 * (high - low))


def test_all_methods_by_arithmetic() -> None:
    log = LoggedActions(
        rewards_N=np.array([1.0, 0.0, 4.0]),
        propensities_N=np.array([0.5, 0.25, 0.8]),
        targets_N=np.array([1.0, 0.5, 0.2]),
        predicted_N=np.array([0.5, 0.5, 3.0]),
        expected_N=np.array([0.5, 0.25, 2.0]),
    )
    # Weights 2, 2 and 1/4.
    ips, snips, dm, dr = (estimate_value(log, method) for method in ("ips", "snips", "dm", "dr"))
    assert ips.value == pytest.approx((2 * 1 + 0 + 4 / 4) / 3)
    assert snips.value == pytest.approx(3 / (2 + 2 + 1 / 4))
    assert dm.value == pytest.approx((0.5 + 0.25 + 2) / 3)
    assert dr.value == pytest.approx(((0.5 + 2 * 0.5) + (0.25 - 2 * 0.5) + (2 + 1 / 4)) / 3)
    assert ips.mean_weight == pytest.approx(4.25 / 3)
    assert ips.effective_units == pytest.approx(4.25**2 / (4 + 4 + 1 / 16))
    # Of a mean: the standard deviation over the root of n. Of a ratio: the same of what is left of each unit.
    assert ips.interval.high - ips.value == pytest.approx(Z * np.std([2, 0, 1], ddof=1) / 3**0.5)
    left = np.array([2, 0, 1]) - snips.value * np.array([2, 2, 1 / 4])
    assert snips.interval.high - snips.value == pytest.approx(Z * np.std(left, ddof=1) / 3**0.5 / (4.25 / 3))
    assert snips.value - snips.interval.low == pytest.approx(snips.interval.high - snips.value)
    clipped = estimate_value(log, "ips", max_weight=1.0)
    assert (clipped.value, clipped.clipped_share) == pytest.approx(((1 + 0 + 1) / 3, 2 / 3))
    narrower = estimate_value(log, "ips", confidence=0.5).interval
    assert narrower.high - narrower.mean == pytest.approx(
        NormalDist().inv_cdf(0.75) / Z * (ips.interval.high - ips.value)
    )


def test_position_based_list_by_arithmetic() -> None:
    # Examination 1 and 1/2. The logger shows a b or b a, each half of the time; the list under test is a b.
    looked_at = (1 + 1 / 2) / 2
    log = LoggedActions(
        rewards_N=np.array([1.0, 0, 0, 1.0]),  # of the pages a b and b a; a is clicked at both positions
        propensities_N=np.full(4, looked_at),
        targets_N=np.array([1, 1 / 2, 1 / 2, 1]),
        units_N=np.array(["p1", "p1", "p2", "p2"]),
        exposures_N=np.array([1, 1 / 2, 1, 1 / 2]),
    )
    ips, snips = (estimate_value(log, method) for method in ("ips", "snips"))
    # Each click weighs 1 / 0.75: over four slots.
    assert ips.value == pytest.approx(2 / looked_at / 4)
    # Weight * examination: (1 + 1/4 + 1/2 + 1/2) / 0.75, where the examination of the pages sums to 3.
    assert ips.mean_weight == pytest.approx((9 / 4) / looked_at / 3)
    assert snips.value == pytest.approx(ips.value / ips.mean_weight)
    assert ips.num_units == 2


def draw_log(seed: int) -> LoggedActions:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(3, 60))
    return LoggedActions(
        rng.normal(size=size),
        rng.uniform(0.01, 1, size),
        rng.uniform(0.01, 1, size) * (rng.random(size) < 0.8),
        rng.normal(size=size),
        rng.normal(size=size),
        rng.integers(0, 3, size) + 10 * (np.arange(size) < 2) * np.arange(1, size + 1),
        rng.uniform(0.1, 1, size),
    )


LOGS = st.integers(0, 2**32 - 1).map(draw_log)


@given(LOGS, st.sampled_from(["ips", "snips", "dm", "dr"]), st.sampled_from([None, 0.7, 5.0]))
@settings(max_examples=60, deadline=None)
def test_neither_order_nor_labels_of_units_matter(log: LoggedActions, method, max_weight) -> None:
    shuffled_N = np.random.default_rng(0).permutation(len(log.rewards_N))
    other = LoggedActions(
        **{name: values[shuffled_N] for name, values in vars(log).items()}
        | {"units_N": np.array([f"unit {-unit}" for unit in log.units_N[shuffled_N]])}
    )
    first, second = (estimate_value(each, method, max_weight=max_weight) for each in (log, other))
    assert vars(second.interval) == pytest.approx(vars(first.interval), nan_ok=True)
    assert second.effective_units == pytest.approx(first.effective_units)


@given(LOGS)
@settings(max_examples=60, deadline=None)
def test_moments_against_the_units_one_by_one(log: LoggedActions) -> None:
    sums_US, _ = sum_units(log)
    units = sorted(set(log.units_N.tolist()))
    weights_N = log.targets_N / log.propensities_N
    by_unit = [sum(weights_N[n] * log.exposures_N[n] for n in np.flatnonzero(log.units_N == unit)) for unit in units]
    assert sums_US[:, SUMS.index("weight")] == pytest.approx(np.array(by_unit))
    ips = estimate_value(log, "ips")
    kish = sum(by_unit) ** 2 / sum(weight**2 for weight in by_unit) if any(by_unit) else 0
    assert (ips.num_units, ips.effective_units) == (len(units), pytest.approx(kish))
    earned = [sum(weights_N[log.units_N == unit] * log.rewards_N[log.units_N == unit]) for unit in units]
    rows = [int((log.units_N == unit).sum()) for unit in units]
    left = [e - ips.value * r for e, r in zip(earned, rows, strict=True)]
    error = (np.sum(np.square(left)) / (len(units) - 1) / len(units)) ** 0.5 / np.mean(rows)
    assert ips.interval.high - ips.value == pytest.approx(Z * error)


@given(LOGS, st.floats(-100, 100))
@settings(max_examples=60, deadline=None)
def test_snips_moves_with_the_rewards(log: LoggedActions, constant: float) -> None:
    ones = vars(log) | {"exposures_N": None}
    before = estimate_value(LoggedActions(**ones), "snips").value
    after = estimate_value(LoggedActions(**ones | {"rewards_N": log.rewards_N + constant}), "snips").value
    if log.targets_N.any():
        assert after == pytest.approx(before + constant, abs=1e-9)
        assert log.rewards_N.min() - 1e-9 <= before <= log.rewards_N.max() + 1e-9
    else:
        assert np.isnan(before)


@given(LOGS)
@settings(max_examples=60, deadline=None)
def test_dr_with_a_perfect_model_has_no_weights(log: LoggedActions) -> None:
    perfect = LoggedActions(**vars(log) | {"predicted_N": log.rewards_N})
    assert vars(estimate_value(perfect, "dr").interval) == pytest.approx(vars(estimate_value(perfect, "dm").interval))
    blind = LoggedActions(**vars(log) | {"predicted_N": 0 * log.rewards_N, "expected_N": 0 * log.rewards_N})
    assert vars(estimate_value(blind, "dr").interval) == pytest.approx(vars(estimate_value(blind, "ips").interval))


def equal_weights(size: int, target: float = 0.5) -> LoggedActions:
    rewards_N = (np.arange(size) % 2).astype(float)
    return LoggedActions(rewards_N, np.full(size, 0.5), np.full(size, target))


def test_warnings() -> None:
    assert estimate_value(equal_weights(100)).warnings == ()
    (few,) = estimate_value(equal_weights(99)).warnings
    assert few.startswith("few units carry the estimate: an effective sample of 99.0 of 99 units")
    # 120 of 20,000 units weigh anything: enough by number, less than 1 of 100.
    targets_N = np.where(np.arange(20_000) < 120, 1.0, 0.0)
    rare = LoggedActions(np.ones(20_000), np.full(20_000, 120 / 20_000), targets_N)
    found = estimate_value(rare)
    assert (found.effective_units, found.mean_weight) == pytest.approx((120, 1))
    assert [warning[:4] for warning in found.warnings] == ["few "]
    (off,) = estimate_value(equal_weights(1000, target=0.4)).warnings
    assert off.startswith("weights average 0.800, where 1 is expected")
    # Clipped weights average less on purpose.
    assert estimate_value(equal_weights(1000, target=1.0), max_weight=1.5).warnings == ()
    model = LoggedActions(*np.ones((5, 9)))
    assert estimate_value(model, "dm").warnings == ("the interval leaves out the error of the predictions",)


def test_no_weight_at_all() -> None:
    nothing = equal_weights(200, target=0.0)
    snips, ips = estimate_value(nothing, "snips"), estimate_value(nothing, "ips", interval="bootstrap")
    assert np.isnan([snips.value, snips.interval.low, snips.interval.high]).all()
    assert (ips.value, ips.effective_units) == (0, 0)
    assert len(snips.warnings) == len(ips.warnings) == 2


GOOD = {"rewards_N": np.ones(3), "propensities_N": np.full(3, 0.5), "targets_N": np.full(3, 0.5)}


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("propensities_N", [0.5, 0.0, 0.5], r"propensity of row 1 is 0\.0: must be above 0 and at most 1"),
        ("propensities_N", [0.5, 0.5, 1.5], r"propensity of row 2 is 1\.5"),
        ("propensities_N", [np.nan, 0.5, 0.5], "propensity of row 0 is nan"),
        ("targets_N", [0.0, -0.1, 1.0], r"target of row 1 is -0\.1: must be from 0 to 1"),
        ("targets_N", [0.0, 0.1, 1.1], r"target of row 2 is 1\.1"),
        ("rewards_N", [1.0, np.inf, 0.0], "reward of row 1 is inf: must be finite"),
        ("exposures_N", [1.0, 1.0, 0.0], r"exposure of row 2 is 0\.0"),
        ("targets_N", [0.5, 0.5], "2 values of target for 3 rewards: row 2 has no target"),
        ("propensities_N", [0.5] * 4, "4 values of propensity for 3 rewards: row 3 has no reward"),
        ("units_N", [1, 2], "2 values of unit for 3 rewards: row 2 has no unit"),
        ("predicted_N", [0.5, 0.5, 0.5], "must be given together"),
    ],
)
def test_wrong_logs_are_refused(column: str, values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoggedActions(**GOOD | {column: np.array(values)})


def test_what_cannot_be_estimated_is_refused() -> None:
    log = LoggedActions(**GOOD)
    with pytest.raises(ValueError, match="dr needs predicted and expected rewards"):
        estimate_value(log, "dr")
    with pytest.raises(ValueError, match="max_weight must be above 0, not 0"):
        estimate_value(log, max_weight=0)
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, not 95"):
        estimate_value(log, confidence=95)
    with pytest.raises(ValueError, match="1 units: an interval needs two or more"):
        estimate_value(LoggedActions(**GOOD | {"units_N": np.zeros(3)}))


def test_moments_alone_are_enough() -> None:
    log = draw_log(7)
    sums_US, share = sum_units(log)
    moments = UnitMoments(len(sums_US), sums_US.mean(axis=0), np.cov(sums_US.T), share)
    for method in ("ips", "snips", "dm", "dr"):
        assert estimate_from_moments(moments, method) == estimate_value(log, method)
