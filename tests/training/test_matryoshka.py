"""Matryoshka: one full dimension is the plain loss, the sum is the formula, and leading dimensions get better."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_batch.contracts.config.compress import Distillation, MatryoshkaSettings
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.examples.negatives import Pairs
from recsys_batch.training.loop.run import train
from recsys_batch.training.tasks.distillation import DistillationTask, TaughtTexts
from recsys_batch.training.tasks.graded_retrieval import GradedRetrievalTask, GradedSettings
from recsys_batch.training.tasks.matryoshka import MatryoshkaTask
from recsys_batch.training.tasks.query_document import HeldOut
from recsys_batch.training.tasks.retrieval import RetrievalTask

Networks = Callable[..., TextNetwork]
DOCUMENTS = ["red shoes", "blue shoes", "red mug", "blue mug", "red cup", "blue cup", "good mug", "华为手机", "手机壳"]
QUERIES = ["running shoes", "mug", "cup", "华为"]
PAIRS = Pairs(np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 2, 3, 4, 7]))
GRADES = [{0: 3.0, 1: 2.0, 2: 0.0}, {2: 3.0, 3: 3.0, 4: 0.0, 5: 1.0}, {0: 0.0, 4: 0.0}, {7: 3.0, 8: 1.0}]
TASKS = ["pairs", "graded", "distillation"]


def make_task(
    kind: str, network: TextNetwork, held_out: HeldOut | None = None
) -> RetrievalTask | GradedRetrievalTask | DistillationTask:
    if kind == "pairs":
        return RetrievalTask(network, QUERIES, DOCUMENTS, PAIRS, temperature=0.1, held_out=held_out)
    if kind == "graded":
        wanted = GradedSettings(judged=4, unjudged=0, temperature=0.1)
        return GradedRetrievalTask(network, QUERIES, DOCUMENTS, GRADES, wanted, held_out=held_out)
    vectors_NK = np.random.default_rng(0).normal(size=(len(DOCUMENTS), 16)).astype(np.float32)
    taught = TaughtTexts(DOCUMENTS, vectors_NK / np.linalg.norm(vectors_NK, axis=1, keepdims=True))
    return DistillationTask(network, taught, Distillation(), taught)


@pytest.mark.parametrize("kind", TASKS)
def test_the_full_dimension_alone_is_the_plain_task(tiny_network: Networks, kind: str) -> None:
    plain = make_task(kind, tiny_network().eval())
    wrapped = MatryoshkaTask(make_task(kind, tiny_network().eval()), {16: 1.0})
    assert (wrapped.name, len(wrapped)) == (plain.name, len(plain))
    batches = [task.make_batch(np.array([0, 2]), np.random.default_rng(0)) for task in (plain, wrapped)]
    for task, batch in zip((plain, wrapped), batches, strict=True):
        task.loss(task.outputs(batch), batch).backward()
    losses = [
        task.loss(task.outputs(batch), batch).item() for task, batch in zip((plain, wrapped), batches, strict=True)
    ]
    assert losses[0] == losses[1]
    for first, second in zip(plain.module.parameters(), wrapped.module.parameters(), strict=True):
        assert torch.equal(first.grad, second.grad)


def test_the_sum_over_dimensions_is_the_formula(tiny_network: Networks) -> None:
    network = tiny_network().eval()
    task = MatryoshkaTask(make_task("pairs", network), {16: 1.0, 4: 0.5, 8: 2.0})
    batch = task.make_batch(np.array([0, 2, 4]), np.random.default_rng(0))
    queries, documents = (
        embed_texts(network, ["running shoes", "mug", "cup"]),
        embed_texts(network, DOCUMENTS)[[0, 2, 4]],
    )
    expected = 0.0
    for dim, weight in ((4, 0.5), (8, 2.0), (16, 1.0)):
        cut = [v[:, :dim] / v[:, :dim].norm(dim=1, keepdim=True) for v in (queries, documents)]
        expected -= weight * float(torch.log_softmax(cut[0] @ cut[1].T / 0.1, 1).diagonal().sum())
    outputs = task.outputs(batch)
    assert float(task.loss(outputs, batch)) == pytest.approx(expected, rel=1e-4)
    assert float(task.divergence(outputs, outputs, batch)) == 0
    assert float(task.divergence(outputs, outputs.flip(1), batch)) > 0


@pytest.mark.parametrize("kind", ["pairs", "graded"])
def test_leading_dimensions_rank_better_than_after_plain_training(
    tiny_network: Networks, tmp_path: Path, kind: str
) -> None:
    held_out = HeldOut(QUERIES, GRADES, k=3)
    settings = Loop(epochs=20, batch_size=3, optimizer=Optimizer(learning_rate=5e-3, layer_decay=1.0, warmup_share=0.0))
    losses = {}
    for name in ("plain", "matryoshka"):
        task = make_task(kind, tiny_network(), held_out)
        learned = MatryoshkaTask(task, {16: 1.0, 3: 1.0}) if name == "matryoshka" else task
        train([learned], settings, tmp_path / name)
        batch = task.make_batch(np.arange(len(task)), np.random.default_rng(0))
        probe = MatryoshkaTask(task, {3: 1.0})
        with torch.no_grad():
            losses[name] = float(probe.loss(probe.outputs(batch), batch))
        assert set(learned.evaluate()) >= {"ndcg@3", "hit_rate@3"}
    assert losses["matryoshka"] < 0.8 * losses["plain"]
    assert set(learned.evaluate()) == {"ndcg@3", "hit_rate@3", "ndcg@3[dim=3]", "hit_rate@3[dim=3]"}


def test_fewer_dimensions_of_a_student_follow_the_teachers_cosines(tiny_network: Networks, tmp_path: Path) -> None:
    settings = Loop(epochs=40, batch_size=9, optimizer=Optimizer(learning_rate=5e-3, layer_decay=1.0, warmup_share=0.0))
    agreement = {}
    for name in ("plain", "matryoshka"):
        task = make_task("distillation", tiny_network())
        train([MatryoshkaTask(task, {16: 1.0, 4: 1.0}) if name == "matryoshka" else task], settings, tmp_path / name)
        agreement[name] = task.evaluate([4])
    assert agreement["matryoshka"]["rank_correlation[dim=4]"] > agreement["plain"]["rank_correlation[dim=4]"] + 0.1


def test_interrupted_and_resumed(tiny_network: Networks, tmp_path: Path) -> None:
    settings = Loop(epochs=3, batch_size=2, checkpoint_every=2, r_drop=0.5)

    class StoppedError(Exception):
        pass

    class Stop:
        def log(self, step: int, values: object) -> None:
            if step == 5:
                raise StoppedError

    def task() -> MatryoshkaTask:
        return MatryoshkaTask(make_task("pairs", tiny_network()), {16: 1.0, 4: 1.0})

    whole, halves = task(), task()
    train([whole], settings, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train([halves], settings, tmp_path / "halves", track=Stop())
    halves = task()
    train([halves], settings, tmp_path / "halves")
    for (name, first), second in zip(whole.module.named_parameters(), halves.module.parameters(), strict=True):
        assert torch.equal(first, second), name


def test_refusals(tiny_network: Networks) -> None:
    for weights in ({}, {17: 1.0}, {0: 1.0, 16: 1.0}):
        with pytest.raises(ConfigError, match="each must be 1 to 16"):
            MatryoshkaTask(make_task("pairs", tiny_network()), weights)
    with pytest.raises(ValueError, match="2 weights for 1 dimensions"):
        MatryoshkaSettings(dimensions=[64], weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="must be above 0 and differ"):
        MatryoshkaSettings(dimensions=[64, 64])
    assert MatryoshkaSettings(dimensions=[8, 4], weights=[1.0, 0.5]).by_dimension == {8: 1.0, 4: 0.5}
