"""Expected off-policy estimates, computed by Open Bandit Pipeline, for tests/rules/test_off_policy.py.

It needs another numpy than the project, so it has an environment of its own:

    python3.11 -m venv /tmp/obp && /tmp/obp/bin/pip install sb-obp==0.5.10
    /tmp/obp/bin/python benchmarks/off_policy_peer.py --out tests/rules/data/off_policy_peer.json

Writes the logs, drawn from a seed, next to what the peer makes of them and its version. Knows nothing of the project's
own estimators.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from obp import ope

NUM_ACTIONS = 6
NUM_SLOTS = 4
MAX_WEIGHT = 1.5


def draw_actions(seed: int, size: int, is_binary: bool) -> dict[str, Any]:
    """Return logged choices of one of six actions, both policies' chances of all of them, and predictions."""
    rng = np.random.default_rng(seed)
    logger_NA, target_NA = (rng.dirichlet(np.full(NUM_ACTIONS, spread), size) for spread in (2.0, 0.5))
    if not is_binary:
        target_NA = np.eye(NUM_ACTIONS)[target_NA.argmax(axis=1)]  # a deterministic policy
    action_N = np.array([rng.choice(NUM_ACTIONS, p=chances) for chances in logger_NA])
    means_NA = rng.random((size, NUM_ACTIONS))
    chosen_N = means_NA[np.arange(size), action_N]
    reward_N = (rng.random(size) < chosen_N).astype(float) if is_binary else rng.normal(5 * chosen_N, 1)
    predicted_NA = np.clip(means_NA + rng.normal(0, 0.2, means_NA.shape), 0, 1)
    return {
        "reward": reward_N,
        "action": action_N,
        "pscore": logger_NA[np.arange(size), action_N],
        "action_dist": target_NA[:, :, None],
        "estimated_rewards_by_reg_model": predicted_NA[:, :, None],
    }


def of_actions(log: dict[str, Any]) -> dict[str, Any]:
    """Return what the estimators need of the log, and the peer's estimates of it."""
    rows = np.arange(len(log["reward"]))
    target_NA, predicted_NA = log["action_dist"][:, :, 0], log["estimated_rewards_by_reg_model"][:, :, 0]
    interval = {
        name: estimator.estimate_interval(**log, alpha=0.05, n_bootstrap_samples=20_000, random_state=1)
        for name, estimator in {"ips": ope.InverseProbabilityWeighting(), "dr": ope.DoublyRobust()}.items()
    }
    estimators = {
        "ips": ope.InverseProbabilityWeighting(),
        "ips clipped": ope.InverseProbabilityWeighting(lambda_=MAX_WEIGHT),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting(),
        "dm": ope.DirectMethod(),
        "dr": ope.DoublyRobust(),
        "dr clipped": ope.DoublyRobust(lambda_=MAX_WEIGHT),
    }
    return {
        "log": {
            "rewards": log["reward"].tolist(),
            "propensities": log["pscore"].tolist(),
            "targets": target_NA[rows, log["action"]].tolist(),
            "predicted": predicted_NA[rows, log["action"]].tolist(),
            "expected": (target_NA * predicted_NA).sum(axis=1).tolist(),
        },
        "expected": {name: float(estimator.estimate_policy_value(**log)) for name, estimator in estimators.items()},
        "bootstrap": {name: [found["95.0% CI (lower)"], found["95.0% CI (upper)"]] for name, found in interval.items()},
    }


def of_slates(seed: int, size: int) -> dict[str, Any]:
    """Return logged pages of four slots, and the peer's estimates under the item-position model.

    The peer's values are sums over the slots of a page; its self-normalized one divides each slot by its mean weight.
    """
    rng = np.random.default_rng(seed)
    slate_N, position_N = np.repeat(np.arange(size), NUM_SLOTS), np.tile(np.arange(NUM_SLOTS), size)
    propensity_N = rng.uniform(0.05, 1, size * NUM_SLOTS)
    target_N = np.where(rng.random(size * NUM_SLOTS) < 0.4, 1.0, 0.0)
    reward_N = (rng.random(size * NUM_SLOTS) < 0.3 + 0.3 * target_N).astype(float)
    log = {
        "slate_id": slate_N,
        "reward": reward_N,
        "position": position_N,
        "pscore_item_position": propensity_N,
        "evaluation_policy_pscore_item_position": target_N,
    }
    plain, normalized = ope.SlateIndependentIPS(len_list=NUM_SLOTS), ope.SelfNormalizedSlateIndependentIPS(NUM_SLOTS)
    found = plain.estimate_interval(**log, alpha=0.05, n_bootstrap_samples=20_000, random_state=1)
    return {
        "log": {
            "rewards": reward_N.tolist(),
            "propensities": propensity_N.tolist(),
            "targets": target_N.tolist(),
            "units": slate_N.tolist(),
            "positions": position_N.tolist(),
        },
        "expected": {
            "ips": float(plain.estimate_policy_value(**log)),
            "snips by slot": float(normalized.estimate_policy_value(**log)),
        },
        "bootstrap": {"ips": [found["95.0% CI (lower)"], found["95.0% CI (upper)"]]},
    }


def main() -> None:
    """Parse, draw, ask the peer, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    cases = {
        "clicks": of_actions(draw_actions(1, 150, is_binary=True)),
        "revenue": of_actions(draw_actions(2, 80, is_binary=False)),
        "pages": of_slates(3, 40),
    }
    content = {"versions": {"sb-obp": version("sb-obp")}, "max_weight": MAX_WEIGHT, "slots": NUM_SLOTS, "cases": cases}
    out.write_text(json.dumps(content, separators=(",", ":")).replace('"expected":{', '\n"expected":{') + "\n")


if __name__ == "__main__":
    main()
