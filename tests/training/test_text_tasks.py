"""Classification, regression and clicks: values against torch and scikit-learn, gradients, one encoder for all."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score, root_mean_squared_error
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.columns import (
    Clicks,
    ExamplesMismatchError,
    LabeledTexts,
    LabelOutOfRangeError,
    RatedTexts,
)
from recsys_batch.training.loop.run import train
from recsys_batch.training.loop.task import Task, trainable_parameters
from recsys_batch.training.tasks.classification import ClassificationTask
from recsys_batch.training.tasks.click_ranking import ClickRankingTask
from recsys_batch.training.tasks.regression import RegressionTask

Networks = Callable[..., TextNetwork]
COLORS = LabeledTexts(
    ["red mug", "red shoes", "blue mug", "blue cup", "red cup", "红色手机"], ["R", "R", "B", "B", "R", "R"]
)
RATINGS = RatedTexts(["good mug", "bad mug", "good shoes", "bad cup"], np.array([5.0, 1.0, 4.0, 2.0]), 1, 5)
CLICKS = Clicks(
    ["red mug", "blue mug", "red mug", "blue cup", "red mug"],
    np.array([1, 0, 0, 1, 1]),
    np.array([1.5, 1.0, 1.0, 2.0, 1.0]),
    ["red", "red", "blue", "blue", "red"],
)
RNG = np.random.default_rng(0)


def all_of(task: Task) -> np.ndarray:
    return np.arange(len(task))


def make_tasks(network: TextNetwork) -> list[ClassificationTask | RegressionTask | ClickRankingTask]:
    return [
        ClassificationTask(network, COLORS, COLORS, name="color"),
        RegressionTask(network, RATINGS, RATINGS, name="rating"),
        ClickRankingTask(network, CLICKS, CLICKS),
    ]


def test_classification_is_weighted_cross_entropy_of_a_linear_layer(tiny_network: Networks) -> None:
    task = ClassificationTask(tiny_network(), COLORS, balanced=True)
    task.module.eval()
    batch = task.make_batch(np.array([3, 0]), RNG)
    pooled_BH = task.network.pooled(task.network.tokenize(["blue cup", "red mug"]))
    logits_BC = pooled_BH @ task.head.linear.weight.T + task.head.linear.bias
    weights = compute_class_weight("balanced", classes=np.array(["B", "R"]), y=np.array(COLORS.labels))
    expected = functional.cross_entropy(
        logits_BC, torch.tensor([0, 1]), torch.from_numpy(weights).float(), reduction="sum"
    )
    outputs = task.outputs(batch)
    torch.testing.assert_close(outputs, logits_BC)
    torch.testing.assert_close(task.loss(outputs, batch), expected)
    assert batch.count == 2
    probabilities = task.probabilities(["blue cup", "red mug"])
    np.testing.assert_allclose(probabilities, logits_BC.softmax(1).detach().numpy(), atol=1e-6)


def test_regression_is_squared_error_of_standardized_targets(tiny_network: Networks) -> None:
    task = RegressionTask(tiny_network(), RATINGS, RATINGS)
    task.module.eval()
    batch = task.make_batch(np.array([1, 2]), RNG)
    mean, spread = np.mean([5, 1, 4, 2]), np.std([5, 1, 4, 2])
    outputs = task.outputs(batch)
    expected = ((outputs - torch.tensor([(1 - mean) / spread, (4 - mean) / spread])) ** 2).sum()
    torch.testing.assert_close(task.loss(outputs, batch), expected.float())
    predicted = task.predict(["bad mug", "good shoes"])
    np.testing.assert_allclose(predicted, outputs.detach().double().numpy() * spread + mean, rtol=1e-5)
    assert task.evaluate()["rmse"] == pytest.approx(
        root_mean_squared_error(RATINGS.values, task.predict(RATINGS.texts))
    )


def test_regression_predicts_within_the_range_and_survives_equal_targets(tiny_network: Networks) -> None:
    task = RegressionTask(tiny_network(), RATINGS)
    torch.nn.init.constant_(task.head.linear.bias, 50.0)
    assert task.predict(["good mug"]).tolist() == [5.0]
    same = RegressionTask(tiny_network(), RatedTexts(["good", "bad"], np.array([3.0, 3.0])))
    batch = same.make_batch(all_of(same), RNG)
    assert torch.isfinite(same.loss(same.outputs(batch), batch))


def pair_features(left_BH: torch.Tensor, right_BH: torch.Tensor) -> torch.Tensor:
    """What the head of pairs reads; the third part's sum is the cosine, times the root of the dimensions."""
    left_BH = left_BH / left_BH.norm(dim=1, keepdim=True)
    right_BH = right_BH / right_BH.norm(dim=1, keepdim=True)
    return torch.cat([left_BH, right_BH, left_BH * right_BH * left_BH.shape[1] ** 0.5, (left_BH - right_BH).abs()], 1)


def test_clicks_are_weighted_cross_entropy_of_pairs(tiny_network: Networks) -> None:
    task = ClickRankingTask(tiny_network(), CLICKS, CLICKS)
    task.module.eval()
    batch = task.make_batch(np.array([0, 3, 4]), RNG)
    # red mug, blue cup, red, blue: each read once.
    assert len(batch.inputs.text.ids_BL) == 4
    query_BH = task.network.pooled(task.network.tokenize(["red", "blue", "red"]))
    item_BH = task.network.pooled(task.network.tokenize(["red mug", "blue cup", "red mug"]))
    features = pair_features(query_BH, item_BH)
    logits_B = features @ task.head.linear.weight[0] + task.head.linear.bias
    outputs = task.outputs(batch)
    torch.testing.assert_close(outputs, logits_B)
    expected = functional.binary_cross_entropy(
        logits_B.sigmoid(), torch.ones(3), weight=torch.tensor([1.5, 2.0, 1.0]), reduction="sum"
    )
    torch.testing.assert_close(task.loss(outputs, batch), expected)
    scores = task.probabilities(CLICKS.items, CLICKS.queries)
    np.testing.assert_allclose(scores[[0, 3, 4]], logits_B.sigmoid().detach().numpy(), atol=1e-6)
    assert task.evaluate() == pytest.approx(
        {
            "auc": roc_auc_score(CLICKS.labels, scores),
            "auc_unbiased": roc_auc_score(CLICKS.labels, scores, sample_weight=CLICKS.weights),
        }
    )


def test_clicks_of_users_given_as_vectors(tiny_network: Networks) -> None:
    users = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    clicks = Clicks(CLICKS.items, CLICKS.labels, CLICKS.weights, users=users)
    task = ClickRankingTask(tiny_network(), clicks, clicks, dropout=0.0)
    task.module.eval()
    batch = task.make_batch(np.array([4, 1]), RNG)
    assert len(batch.inputs.text.ids_BL) == 2
    left_BH = functional.linear(torch.from_numpy(users[[4, 1]]), task.head.project.weight, task.head.project.bias)
    item_BH = task.network.pooled(task.network.tokenize(["red mug", "blue mug"]))
    features = pair_features(left_BH, item_BH)
    logits_B = features @ task.head.linear.weight[0] + task.head.linear.bias
    torch.testing.assert_close(task.outputs(batch), logits_B)
    np.testing.assert_allclose(
        task.probabilities(CLICKS.items, users=users)[[4, 1]], logits_B.sigmoid().detach().numpy(), atol=1e-6
    )


@pytest.mark.parametrize("place", range(3))
def test_gradients_reach_every_layer(tiny_network: Networks, place: int) -> None:
    task = make_tasks(tiny_network())[place]
    batch = task.make_batch(all_of(task), RNG)
    task.loss(task.outputs(batch), batch).backward()
    lost = [name for name, p in trainable_parameters([task]).items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert lost == []


@pytest.mark.parametrize("place", range(3))
def test_divergence_is_symmetric_zero_for_equal_passes_and_above_zero_with_dropout(
    tiny_network: Networks, place: int
) -> None:
    task = make_tasks(tiny_network())[place]
    task.module.train()
    batch = task.make_batch(all_of(task), RNG)
    with torch.no_grad():
        torch.manual_seed(0)
        first, second = task.outputs(batch), task.outputs(batch)
        assert task.divergence(first, first, batch) == 0
        assert task.divergence(first, second, batch) > 0
        torch.testing.assert_close(task.divergence(first, second, batch), task.divergence(second, first, batch))


def test_many_tasks_share_one_encoder(tiny_network: Networks) -> None:
    network = tiny_network()
    tasks = make_tasks(network)
    parameters = trainable_parameters(tasks)
    own = len(list(network.parameters()))
    assert len(parameters) == own + 2 + 2 + 2  # a weight and a bias a head
    assert len({id(p) for p in parameters.values()}) == len(parameters)
    assert all(task.module["encoder"] is network for task in tasks)


def test_one_run_learns_all_tasks(tiny_network: Networks, tmp_path) -> None:
    tasks = make_tasks(tiny_network())
    loop = Loop(
        epochs=100,
        max_steps=90,
        evaluate_every=90,
        checkpoint_every=90,
        batch_size=8,
        task_sampling="uniform",
        optimizer=Optimizer(learning_rate=5e-3, head_learning_rate=1e-2),
    )
    before = {name: value for task in tasks for name, value in task.evaluate().items()}
    train(tasks, loop, tmp_path)
    assert tasks[0].evaluate() == {"accuracy": 1.0, "macro_f1": 1.0}
    assert tasks[1].evaluate()["rmse"] < 0.5 * before["rmse"]
    assert tasks[2].evaluate()["auc"] > 0.8  # the pair (red, red mug) was clicked twice, the others once or never


def test_metrics_are_those_of_the_predictions(tiny_network: Networks) -> None:
    task = ClassificationTask(tiny_network(), COLORS, COLORS)
    predicted = [task.classes[k] for k in task.probabilities(COLORS.texts).argmax(1)]
    assert task.evaluate() == {
        "accuracy": accuracy_score(COLORS.labels, predicted),
        "macro_f1": pytest.approx(f1_score(COLORS.labels, predicted, average="macro")),
    }
    assert ClassificationTask(tiny_network(), COLORS).evaluate() == {}


def test_labels_out_of_range_are_refused(tiny_network: Networks) -> None:
    with pytest.raises(LabelOutOfRangeError, match=r"label of example 2 is 'B', none of the 1 known ones \('R'\)"):
        ClassificationTask(tiny_network(), COLORS, classes=["R"])
    with pytest.raises(LabelOutOfRangeError, match="held-out label of example 0 is 'G'"):
        ClassificationTask(tiny_network(), COLORS, LabeledTexts(["green"], ["G"]))
    with pytest.raises(LabelOutOfRangeError, match=r"value of example 1 is 6, outside 1 to 5 \(1 of 2 are\)"):
        RatedTexts(["a", "b"], np.array([5.0, 6.0]), 1, 5)
    with pytest.raises(LabelOutOfRangeError, match="value of example 0 is nan"):
        RatedTexts(["a"], np.array([np.nan]))
    with pytest.raises(LabelOutOfRangeError, match="label of example 0 is 2, outside 0 to 1"):
        Clicks(["a"], np.array([2]), np.ones(1), ["q"])
    with pytest.raises(LabelOutOfRangeError, match="weight of example 0 is 0"):
        Clicks(["a"], np.array([1]), np.zeros(1), ["q"])


def test_columns_must_go_together() -> None:
    with pytest.raises(ExamplesMismatchError, match="texts 1, labels 2"):
        LabeledTexts(["a"], ["x", "y"])
    with pytest.raises(ExamplesMismatchError, match="queries or user vectors, and not both"):
        Clicks(["a"], np.array([1]), np.ones(1))
