"""Self-training: it learns from the pool, and no held-out text ever is guessed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recsys_batch.contracts.semi_supervised_config import PseudoLabeling
from recsys_batch.contracts.training_config import Loop, Optimizer
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.columns import LabeledTexts
from recsys_batch.training.labeling.pseudo_labels import join_texts, label_texts
from recsys_batch.training.labeling.self_training import best_round, outside_of, self_train
from recsys_batch.training.loop.run import train
from recsys_batch.training.tasks.classification import ClassificationTask

Networks = Callable[..., TextNetwork]


class Undecided:
    """A model that is sure of nothing."""

    classes = ("A", "B")

    def probabilities(self, texts):
        return np.full((len(texts), 2), 0.5)


def test_a_pool_holds_nothing_that_is_held_out_in_any_spelling() -> None:
    pool = ["Red  Mug", "blue cup", "ＢＬＵＥ cup", "new", "NEW", "", "good shoes"]
    assert outside_of(pool, ["red mug"], ["good shoes "]).tolist() == [1, 3]


def test_self_training_learns_and_never_guesses_a_held_out_text(tiny_network: Networks, tmp_path: Path) -> None:
    """Red is A and blue is B; two labels, a pool of more, and test texts that stand in the pool too."""
    labeled = LabeledTexts(["red mug", "blue mug"], ["A", "B"])
    test = LabeledTexts(["red good cup", "blue good cup"], ["A", "B"])
    validation = LabeledTexts(["red cup", "blue cup", "red shoes", "blue shoes"], ["A", "B", "A", "B"])
    pool = ["Red good CUP", "red good shoes", "blue good shoes", "blue bad mug", "red mug", "red bad mug", "blue cup"]
    truth = ["A", "A", "B", "B", "A", "A", "B"]
    settings = PseudoLabeling(floor=0.6, rounds=2)
    guessed: list[str] = []
    sizes = []

    def fit(examples: LabeledTexts, number: int) -> tuple[ClassificationTask, float]:
        sizes.append(len(examples))
        task = ClassificationTask(tiny_network(), examples, validation, classes=["A", "B"])
        rates = Optimizer(learning_rate=3e-3, head_learning_rate=1e-2)
        loop = Loop(epochs=12, batch_size=4, metric="classification.accuracy", optimizer=rates)
        result = train([task], loop, tmp_path / str(number))
        return task, result.best_metric

    def guess(task: ClassificationTask, rows):
        texts = [pool[row] for row in rows]
        guessed.extend(texts)
        return label_texts(task, texts, settings, validation, [truth[row] for row in rows])

    rounds = self_train(
        labeled,
        pool,
        [validation.texts, test.texts],
        labeled_texts=labeled.texts,
        fit=fit,
        guess=guess,
        join=join_texts,
        rounds=settings.rounds,
    )
    assert set(guessed) == {"red good shoes", "blue good shoes", "blue bad mug", "red bad mug"}
    assert [found.number for found in rounds] == [0, 1, 2]
    assert sizes == [2, *(2 + found.report.num_kept for found in rounds[1:])]
    assert rounds[-1].report.precision is not None
    assert best_round(rounds).metric == max(found.metric for found in rounds)
    assert best_round(rounds).metric == 1.0


def test_self_training_ends_where_nothing_is_sure() -> None:
    def fit(examples, number):
        return Undecided(), 0.0

    rounds = self_train(
        LabeledTexts(["z"], ["A"]), ["a"], [[]], labeled_texts=["z"], fit=fit,
        guess=lambda model, rows: label_texts(model, ["a"], PseudoLabeling(floor=0.8, calibrate=False)),
        join=join_texts, rounds=3,
    )  # fmt: skip
    assert len(rounds) == 1
    none = self_train(
        LabeledTexts(["z"], ["A"]), ["Z"], [[]], labeled_texts=["z"], fit=fit,
        guess=lambda model, rows: pytest.fail("guessed a labeled text"), join=join_texts, rounds=3,
    )  # fmt: skip
    assert len(none) == 1
