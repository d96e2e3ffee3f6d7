"""Distillation: losses from their formulas, a projection for narrower students, agreement by hand, resuming."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from recsys_batch.contracts.config.compress import Distillation, StudentShape
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.learning.student import make_student
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.compress.teacher_vectors import Corpus, teacher_vectors
from recsys_batch.training.examples.columns import ExamplesMismatchError
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.loop.run import train
from recsys_batch.training.tasks.distillation import DistillationTask, TaughtTexts, compare_orders

Networks = Callable[..., TextNetwork]
TEXTS = ["red shoes", "blue running shoes", "red mug", "good blue mug", "red cup", "华为手机", "手机壳", "bad cup"]
UNSEEN = ["blue shoes", "good red cup", "running", "blue cup", "华为 手机壳"]
FAST = Loop(epochs=60, batch_size=4, optimizer=Optimizer(learning_rate=5e-3, layer_decay=1.0, warmup_share=0.0))


def taught(network: TextNetwork, texts: list[str]) -> TaughtTexts:
    return TaughtTexts(texts, embed_texts(network, texts).numpy())


def random_unit(num: int, width: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(num, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def loss_of(network: TextNetwork, teacher: np.ndarray, settings: Distillation, rows: np.ndarray) -> float:
    task = DistillationTask(network.eval(), TaughtTexts(TEXTS, teacher), settings)
    batch = task.make_batch(rows, np.random.default_rng(0))
    assert batch.count == len(rows)
    return task.loss(task.outputs(batch), batch).item()


def test_the_pointwise_loss_is_two_minus_two_cosines(tiny_network: Networks) -> None:
    teacher, rows = random_unit(8, 16), np.array([0, 3, 5])
    student = embed_texts(tiny_network(), TEXTS).numpy()
    expected = sum(2 - 2 * float(student[row] @ teacher[row]) for row in rows)
    found = loss_of(tiny_network(), teacher, Distillation(pointwise=0.5, pairwise=0.0), rows)
    assert found == pytest.approx(0.5 * expected, rel=1e-4)


def test_the_listwise_loss_is_the_divergence_of_the_softmaxes(tiny_network: Networks) -> None:
    teacher, rows = random_unit(8, 16), np.array([1, 2, 4, 7])
    student = embed_texts(tiny_network(), TEXTS).numpy()
    expected = 0.0
    for row in rows:
        others = [other for other in rows if other != row]
        shares = []
        for vectors in (teacher, student):
            weights = np.exp([float(vectors[row] @ vectors[other]) / 0.2 for other in others])
            shares.append(weights / weights.sum())
        expected += float((shares[0] * np.log(shares[0] / shares[1])).sum())
    found = loss_of(tiny_network(), teacher, Distillation(pointwise=0.0, pairwise=3.0, temperature=0.2), rows)
    assert found == pytest.approx(3 * expected, rel=1e-3)


def test_the_margin_loss_compares_the_nearest_with_the_others(tiny_network: Networks) -> None:
    teacher, rows = random_unit(8, 16), np.array([1, 2, 4, 7])
    student = embed_texts(tiny_network(), TEXTS).numpy()
    expected = 0.0
    for row in rows:
        others = [other for other in rows if other != row]
        nearest = max(others, key=lambda other: float(teacher[row] @ teacher[other]))
        margins = [
            [float(v[row] @ v[nearest] - v[row] @ v[other]) for other in others if other != nearest]
            for v in (student, teacher)
        ]
        expected += float(((np.array(margins[0]) - np.array(margins[1])) ** 2).mean())
    found = loss_of(tiny_network(), teacher, Distillation(pointwise=0.0, pairwise_loss="margin"), rows)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["listwise", "margin"])
def test_the_teacher_itself_has_no_loss(tiny_network: Networks, kind: str) -> None:
    network = tiny_network().eval()
    teacher = embed_texts(network, TEXTS).numpy()
    found = loss_of(network, teacher, Distillation(pairwise_loss=kind), np.arange(8))
    assert found == pytest.approx(0, abs=1e-4)
    assert loss_of(network, teacher, Distillation(), np.array([2])) == pytest.approx(0, abs=1e-4)


def test_a_narrower_student_learns_through_a_projection_that_stays_in_training(
    tiny_network: Networks, tiny_folder: Path, tmp_path: Path
) -> None:
    make_student(tiny_folder, tmp_path / "start", StudentShape(width=8), TEXTS)
    network = TextNetwork.load(tmp_path / "start", 32)
    examples = taught(tiny_network(), TEXTS)
    task = DistillationTask(network, examples, Distillation(), examples)
    projection = task.module["projection"].weight.detach()
    # Its columns are the main axes of the teacher's vectors: what they keep of the squares is the most there is.
    kept = float(((torch.from_numpy(examples.vectors_NK) @ projection) ** 2).sum())
    assert kept == pytest.approx(float((np.linalg.svd(examples.vectors_NK, compute_uv=False)[:8] ** 2).sum()), rel=1e-4)
    before = task.evaluate()
    train([task], FAST, tmp_path / "run")
    after = task.evaluate()
    assert after["cosine"] > max(0.95, before["cosine"])
    assert after["rank_correlation"] > 0.9
    network.save(tmp_path / "student")
    encoder = Encoder.load(EncoderSettings(str(tmp_path / "student"), max_tokens=32), num_threads=1)
    assert encoder.encode(TEXTS).shape == (8, 8)
    assert np.abs(encoder.encode(TEXTS) - embed_texts(network, TEXTS).numpy()).max() < 1e-5


def test_learning_brings_unseen_texts_nearer_too(tiny_network: Networks, tmp_path: Path) -> None:
    teacher = tiny_network()
    with torch.no_grad():  # layers that do more than fresh ones, so that a student without one of them is far off
        for parameter in teacher.model.encoder.layer.parameters():
            parameter.mul_(10.0 if parameter.ndim > 1 else 1.0)
    teacher.save(tmp_path / "teacher")
    make_student(tmp_path / "teacher", tmp_path / "start", StudentShape(layers=1, neurons=16))
    network = TextNetwork.load(tmp_path / "start", 32)
    task = DistillationTask(network, taught(teacher, TEXTS), Distillation(), taught(teacher, UNSEEN))
    before = task.evaluate()
    train([task], FAST, tmp_path / "run")
    after = task.evaluate()
    assert after["cosine"] > before["cosine"] + 0.02


def test_agreement_of_orders_by_hand() -> None:
    student_NH, teacher_NK = (torch.from_numpy(random_unit(15, 4, seed)) for seed in (1, 2))
    correlations, overlaps = [], []
    for row in range(15):
        others = [other for other in range(15) if other != row]
        cosines = [[float(v[row] @ v[other]) for other in others] for v in (student_NH, teacher_NK)]
        correlations.append(spearmanr(*cosines).statistic)
        nearest = [set(np.argsort(values)[-3:]) for values in cosines]
        overlaps.append(len(nearest[0] & nearest[1]) / 3)
    found = compare_orders(student_NH, teacher_NK, 3)
    assert found == {
        "rank_correlation": pytest.approx(np.mean(correlations)),
        "overlap@3": pytest.approx(np.mean(overlaps)),
    }
    assert compare_orders(teacher_NK, teacher_NK) == {"rank_correlation": pytest.approx(1), "overlap@10": 1.0}
    assert compare_orders(student_NH[:2], teacher_NK[:2]) == {}


def test_dropout_is_off_and_the_saved_model_keeps_its_own(tiny_network: Networks, tmp_path: Path) -> None:
    network = tiny_network().train()
    task = DistillationTask(network, taught(tiny_network(), TEXTS), Distillation())
    batch = task.make_batch(np.arange(4), np.random.default_rng(0))
    assert torch.equal(task.outputs(batch), task.outputs(batch))
    assert network.model.config.hidden_dropout_prob == 0.1


def test_interrupted_inside_an_epoch_and_resumed(tiny_network: Networks, tiny_folder: Path, tmp_path: Path) -> None:
    make_student(tiny_folder, tmp_path / "start", StudentShape(width=8), TEXTS)
    examples = taught(tiny_network(), TEXTS)
    settings = FAST.model_copy(update={"epochs": 3, "batch_size": 3, "checkpoint_every": 2})

    class StoppedError(Exception):
        pass

    class Stop:
        def log(self, step: int, values: object) -> None:
            if step == 5:
                raise StoppedError

    def task() -> DistillationTask:
        torch.manual_seed(len(list(tmp_path.iterdir())))  # what the projection would be without axes
        return DistillationTask(TextNetwork.load(tmp_path / "start", 32), examples, Distillation())

    whole, halves = task(), task()
    train([whole], settings, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train([halves], settings, tmp_path / "halves", track=Stop())
    halves = task()
    train([halves], settings, tmp_path / "halves")
    for (name, first), second in zip(whole.module.named_parameters(), halves.module.parameters(), strict=True):
        assert torch.equal(first, second), name


def test_teacher_vectors_are_made_once_for_a_teacher_and_its_texts(tiny_folder: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(
        EncoderSettings(str(tiny_folder), max_tokens=32, normalize=False, query_prefix="red "), num_threads=1
    )
    texts = Corpus(["mug", "cup", "mug"], ["mug", "cup"]).texts(encoder)
    assert texts == ["mug", "cup", "red mug", "red cup"]
    vectors_NK = teacher_vectors(encoder, texts, tmp_path)
    plain = encoder.encode(texts)
    assert np.allclose(vectors_NK, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)
    count = encoder.stats.texts
    assert np.array_equal(teacher_vectors(encoder, texts, tmp_path), vectors_NK)
    assert encoder.stats.texts == count
    teacher_vectors(encoder, texts[:3], tmp_path)
    other = Encoder.load(EncoderSettings(str(tiny_folder), max_tokens=16), num_threads=1)
    teacher_vectors(other, texts, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_refusals(tiny_network: Networks) -> None:
    with pytest.raises(ExamplesMismatchError):
        TaughtTexts(["red"], random_unit(2, 16))
    with pytest.raises(ValueError, match="both 0"):
        Distillation(pointwise=0.0, pairwise=0.0)
