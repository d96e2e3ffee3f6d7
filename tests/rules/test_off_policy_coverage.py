"""The intervals of off-policy estimates hold the truth as often as they say: in the demo shop the truth is known."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.off_policy_coverage import EXAMINED_K, Pages, draw_shop, holds, log_choices, log_lists, simulate
from recsys_batch.rules.metrics.off_policy import MIN_EFFECTIVE_UNITS, estimate_value

SIMULATIONS = 100


@pytest.fixture(scope="module")
def shop() -> Pages:
    return draw_shop(num_users=600)


@pytest.mark.parametrize("log", ["one item", "list, item-position", "list, position-based"])
def test_intervals_hold_the_truth(shop: Pages, log: str) -> None:
    held, warned = Counter(), 0
    for method, truth, found in simulate(shop, log, SIMULATIONS):
        held[method] += holds(found, truth)
        warned += found.warnings != () and method != "dm"
    # The model knows half of what makes shoppers click: its own estimate misses, and corrected by the log it does not.
    assert held.pop("dm", 0) == 0
    assert len(held) == (3 if log == "one item" else 2)
    assert min(held.values()) >= 90, held
    # Weights whose mean is 3 standard errors from 1 come by chance in one log of 400.
    assert warned <= 2 * len(held)


@pytest.mark.parametrize("log", ["one item, small log", "list, item-position, little exploration"])
def test_a_small_effective_sample_is_told(shop: Pages, log: str) -> None:
    found = [estimate for _, _, estimate in simulate(shop, log, 10)]
    assert max(estimate.effective_units for estimate in found) < MIN_EFFECTIVE_UNITS
    assert all(estimate.warnings[0].startswith("few units carry the estimate") for estimate in found)


@pytest.mark.parametrize("model", ["item_position", "position_based"])
def test_lists_are_estimated_without_bias(shop: Pages, model: str) -> None:
    trials = [log_lists(shop, 500, model, 0.5, seed) for seed in range(100)]
    values = np.array([estimate_value(trial.log, "ips").value for trial in trials])
    error = values.std(ddof=1) / len(values) ** 0.5
    assert values.mean() == pytest.approx(trials[0].truth, abs=4 * error)
    assert trials[0].truth == pytest.approx(
        np.mean([sum(EXAMINED_K * sorted(page, reverse=True)) / 8 for page in shop.relevance_PK])
    )


def test_corrected_predictions_vary_less_than_weighted_rewards(shop: Pages) -> None:
    trials = [log_choices(shop, 500, 3.0, 0.3, seed) for seed in range(100)]
    ips, dr = ([estimate_value(trial.log, method).value for trial in trials] for method in ("ips", "dr"))
    assert np.std(dr) < np.std(ips)
