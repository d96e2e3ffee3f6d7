"""Learning to rank candidates: the losses by hand, and a rule that is learned."""

import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.scoring.ranker import CandidateLists, CandidateRanker, FeatureScale
from recsys_batch.training.examples.columns import ExamplesMismatchError, LabelOutOfRangeError
from recsys_batch.training.loop.run import train
from recsys_batch.training.tasks.candidate_ranking import CandidateRankingTask, RankedCandidates

MASK = torch.tensor([[True, True, True], [True, True, False], [True, True, True]])


def make_ranked() -> RankedCandidates:
    """The wanted one: of all three, of two, and nothing wanted (but for what fills nothing up)."""
    features_UCF = torch.tensor([[[1.0], [2.0], [4.0]], [[3.0], [0.0], [7.0]], [[5.0], [5.0], [5.0]]])
    gains_UC = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 9.0], [0.0, 0.0, 0.0]])
    return RankedCandidates(CandidateLists(features_UCF, MASK), gains_UC)


def make_task(loss: Literal["listwise", "pointwise"] = "listwise") -> CandidateRankingTask:
    """Scores are the features as they are."""
    ranker = CandidateRanker(FeatureScale(("x",), np.zeros(1), np.ones(1)), hidden=0)
    with torch.no_grad():
        ranker.linear.weight.copy_(torch.tensor([[1.0, 0.0]]))
    return CandidateRankingTask(ranker, make_ranked(), make_ranked(), loss=loss, k=1)


def test_listwise_loss_is_the_softmax_over_candidates() -> None:
    task = make_task()
    assert len(task) == 2  # the third list wants nothing
    batch = task.make_batch(np.arange(2), np.random.default_rng(0))
    wanted = -math.log(math.exp(4) / (math.exp(1) + math.exp(2) + math.exp(4))) - math.log(
        math.exp(3) / (math.exp(3) + math.exp(0))
    )
    assert batch.count == 2
    assert task.loss(task.outputs(batch), batch).item() == pytest.approx(wanted, abs=1e-5)


def test_pointwise_loss_is_the_cross_entropy_of_each_candidate() -> None:
    task = make_task("pointwise")
    batch = task.make_batch(np.arange(2), np.random.default_rng(0))
    terms = [(1, 0), (2, 0), (4, 1), (3, 1), (0, 0)]
    wanted = sum(-math.log(1 / (1 + math.exp(-x if label else x))) for x, label in terms)
    assert batch.count == 5
    assert task.loss(task.outputs(batch), batch).item() == pytest.approx(wanted, abs=1e-5)


def test_metrics_count_users_whose_item_is_no_candidate() -> None:
    assert make_task().evaluate() == {"hit_rate@1": 2 / 3, "ndcg@1": 2 / 3}
    ranked = make_ranked()
    assert ranked.best_ranks(torch.tensor([[0.0, 1.0, 0.5], [1.0, 1.0, 2.0], [0.0, 0.0, 0.0]])).tolist() == [2, 2, 0]


@pytest.mark.parametrize("loss", ["listwise", "pointwise"])
def test_a_rule_of_two_features_is_learned(tmp_path: Path, loss: Literal["listwise", "pointwise"]) -> None:
    rng = np.random.default_rng(0)
    features_UCF = torch.from_numpy(rng.normal(size=(200, 6, 3))).float()
    wanted_UC = features_UCF[:, :, 0] * features_UCF[:, :, 1]  # no sum of the features says this
    gains_UC = torch.nn.functional.one_hot(wanted_UC.argmax(1), 6).float()
    lists = CandidateLists(features_UCF, torch.ones(200, 6, dtype=torch.bool))
    rows = torch.arange(200)
    train_part, held_out = (RankedCandidates(lists.take(r), gains_UC[r]) for r in (rows[:150], rows[150:]))
    ranker = CandidateRanker(FeatureScale.of(("a", "b", "noise"), train_part.lists), hidden=16, dropout=0.0)
    task = CandidateRankingTask(ranker, train_part, held_out, loss=loss, k=1)
    settings = Loop(epochs=40, batch_size=25, optimizer=Optimizer(head_learning_rate=0.02, weight_decay=0.0))
    train([task], settings, tmp_path)
    assert task.evaluate()["hit_rate@1"] > 0.8


def test_gains_outside_their_range_are_refused() -> None:
    ranked = make_ranked()
    with pytest.raises(LabelOutOfRangeError, match="gain"):
        RankedCandidates(ranked.lists, torch.full((3, 3), -1.0))
    with pytest.raises(ExamplesMismatchError, match="shape"):
        RankedCandidates(ranked.lists, torch.zeros(3, 2))


@pytest.mark.parametrize("loss", ["listwise", "pointwise"])
def test_like_passes_do_not_diverge(loss: Literal["listwise", "pointwise"]) -> None:
    task = make_task(loss)
    batch = task.make_batch(np.arange(2), np.random.default_rng(0))
    outputs = task.outputs(batch)
    assert task.divergence(outputs, outputs, batch).item() == 0.0
    assert task.divergence(outputs, 2 * outputs, batch).item() > 0.1
