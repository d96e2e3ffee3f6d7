import math

import pytest
import torch

from recsys_batch.training.loop.weighting import TaskWeights


def test_fixed_factors_are_1_where_not_named() -> None:
    weights = TaskWeights(["a", "b"], {"b": 0.25}, learn=False)
    assert (weights.scale("a"), weights.scale("b")) == (1.0, 0.25)
    assert weights.penalty("a") is None
    assert not list(weights.parameters())


def test_learned_weights_follow_the_uncertainty_formula() -> None:
    weights = TaskWeights(["a", "b"], {"b": 2.0}, learn=True)
    log_variance = weights.named_log_variances()["b"]
    with torch.no_grad():
        log_variance.fill_(0.7)
    objective = weights.scale("b") * torch.tensor(3.0) + weights.penalty("b")
    assert objective.item() == pytest.approx(2.0 * (math.exp(-0.7) * 3.0 + 0.7 / 2))
    objective.backward()
    assert float(log_variance.grad) == pytest.approx(2.0 * (-math.exp(-0.7) * 3.0 + 0.5))
    assert weights.named_log_variances()["a"].grad is None


def test_the_best_variance_is_twice_the_loss() -> None:
    weights = TaskWeights(["a"], {}, learn=True)
    optimizer = torch.optim.SGD(weights.parameters(), lr=0.2)
    for _ in range(500):
        optimizer.zero_grad()
        (weights.scale("a") * 3.0 + weights.penalty("a")).backward()
        optimizer.step()
    # d/ds (exp(-s) * 3 + s / 2) = 0 at exp(s) = 6.
    assert float(weights.named_log_variances()["a"].exp()) == pytest.approx(6.0, rel=1e-3)
