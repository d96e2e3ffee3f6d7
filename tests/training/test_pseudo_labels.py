"""Guesses that become labels: which, and with what weight."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch.nn import functional

from recsys_batch.contracts.semi_supervised_config import PseudoLabeling
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.columns import (
    Clicks,
    ExamplesMismatchError,
    LabeledTexts,
    LabelOutOfRangeError,
    TaggedTexts,
)
from recsys_batch.training.labeling.pseudo_labels import (
    join_clicks,
    join_tags,
    join_texts,
    label_clicks,
    label_texts,
    select_confident,
    tag_texts,
)
from recsys_batch.training.tasks.classification import ClassificationTask
from recsys_batch.training.tasks.tagging import TaggingTask

Networks = Callable[..., TextNetwork]
PLAIN = PseudoLabeling(floor=0.8, calibrate=False)


class Table:
    """A model that says what a table says."""

    classes = ("A", "B")
    names = ("O", "B-item", "I-item")

    def __init__(self, table: dict[str, list]) -> None:
        self.table = table

    def probabilities(self, texts, queries=None, users=None):
        found = [self.table[text if isinstance(text, str) else " ".join(text)] for text in texts]
        if found and isinstance(found[0][0], list):
            return [np.array(row, dtype=np.float32) for row in found]
        made = np.array(found, dtype=np.float32).reshape(len(found), -1)
        return made[:, 0] if made.shape[1] == 1 else made


GUESSES = {"a": [0.9, 0.1], "b": [0.3, 0.7], "c": [0.05, 0.95], "d": [0.85, 0.15], "e": [0.95, 0.05]}


def test_what_is_sure_becomes_a_label_with_its_confidence_as_weight() -> None:
    made = label_texts(Table(GUESSES), list("abcde"), PLAIN, truth=["A", "B", "A", "A", "A"])
    assert made.positions.tolist() == [0, 2, 3, 4]
    assert list(made.examples.texts) == ["a", "c", "d", "e"]
    assert list(made.examples.labels) == ["A", "B", "A", "A"]
    assert made.examples.weights == pytest.approx([0.9, 0.95, 0.85, 0.95])
    report = made.report
    assert (report.num_pool, report.num_kept, report.num_unsure, report.num_over_limit) == (5, 4, 1, 0)
    assert report.by_class == {"A": 3, "B": 1}
    assert report.precision == 3 / 4
    assert report.mean_confidence == pytest.approx((0.9 + 0.95 + 0.85 + 0.95) / 4)
    assert label_texts(Table(GUESSES), list("ab"), PLAIN).report.precision is None


def test_of_a_class_the_surest_stay() -> None:
    settings = PLAIN.model_copy(update={"per_class": 2, "weight": 0.5})
    made = label_texts(Table(GUESSES), list("abcde"), settings)
    assert list(made.examples.texts) == ["a", "c", "e"]
    assert made.examples.weights == pytest.approx([0.45, 0.475, 0.475])
    assert (made.report.num_kept, made.report.num_over_limit, made.report.num_unsure) == (3, 1, 1)


@examples(deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.8, 0.9]), st.integers(0, 2)), max_size=12),
    floor=st.sampled_from([0.0, 0.5, 0.85]),
    limit=st.integers(0, 3),
)
def test_selection_against_a_plain_loop(rows: list[tuple[float, int]], floor: float, limit: int) -> None:
    confidence = np.array([row[0] for row in rows])
    labels = np.array([row[1] for row in rows], dtype=np.int64)
    kept, over = select_confident(confidence, labels, floor, limit)
    expected, counts = [], [0, 0, 0]
    for place in sorted(range(len(rows)), key=lambda place: (-rows[place][0], place)):
        score, label = rows[place]
        if score >= floor and (not limit or counts[label] < limit):
            counts[label] += 1
            expected.append(place)
    assert kept.tolist() == sorted(expected)
    assert over == sum(score >= floor for score, _ in rows) - len(expected)


def test_calibration_comes_before_the_floor() -> None:
    # 99% sure, and right 8 times of 10: nothing is 90% sure any more.
    table = {f"v{place}": [0.99, 0.01] for place in range(10)} | {"x": [0.99, 0.01]}
    validation = LabeledTexts([f"v{place}" for place in range(10)], ["A"] * 8 + ["B"] * 2)
    settings = PseudoLabeling(floor=0.9)
    made = label_texts(Table(table), ["x"], settings, validation)
    assert made.report.num_kept == 0
    assert made.report.temperature == pytest.approx(np.log(99) / np.log(4), rel=1e-3)
    lower = label_texts(Table(table), ["x"], PseudoLabeling(floor=0.75), validation)
    assert lower.examples.weights == pytest.approx([0.8], abs=1e-3)
    with pytest.raises(ValueError, match="calibrated on validation data; give it"):
        label_texts(Table(table), ["x"], settings)
    with pytest.raises(LabelOutOfRangeError, match="validation label of example 0 is 'Z'"):
        label_texts(Table(table), ["x"], settings, LabeledTexts(["v0"], ["Z"]))


def test_a_text_is_tagged_where_every_word_is_sure() -> None:
    table = {
        "red mug": [[0.9, 0.1, 0.0], [0.05, 0.95, 0.0]],
        "big red mug": [[0.99, 0.01, 0.0], [0.6, 0.4, 0.0], [0.0, 0.9, 0.1]],
        "mug cup": [[0.0, 1.0, 0.0], [0.15, 0.0, 0.85]],
    }
    words = [text.split() for text in table] + [[]]
    model = Table({**table, "": []})
    model.probabilities = lambda texts: [np.array(table.get(" ".join(t), np.zeros((0, 3)))) for t in texts]
    made = tag_texts(model, words, PLAIN, truth=[["O", "B-item"], ["O"] * 3, ["B-item", "B-item"], []])
    assert [list(row) for row in made.examples.words] == [["red", "mug"], ["mug", "cup"]]
    assert [list(row) for row in made.examples.tags] == [["O", "B-item"], ["B-item", "I-item"]]
    assert made.examples.weights == pytest.approx([0.9, 0.85])
    assert made.report.by_class == {"item": 2}
    assert made.report.precision == 1 / 2  # "mug" is right, "mug cup" are two entities in truth
    assert (made.report.num_pool, made.report.num_unsure) == (4, 2)


def test_clicks_are_labeled_on_both_sides() -> None:
    model = Table({"a": [0.95], "b": [0.5], "c": [0.1]})
    pool = Clicks(["a", "b", "c"], np.array([0, 0, 0]), np.ones(3), ["q1", "q2", "q3"])
    made = label_clicks(model, pool, PLAIN, truth=True)
    assert list(made.examples.items) == ["a", "c"]
    assert made.examples.labels.tolist() == [1, 0]
    assert made.examples.weights == pytest.approx([0.95, 0.9])
    assert made.examples.queries == ["q1", "q3"]
    assert made.report.by_class == {"0": 1, "1": 1}
    assert made.report.precision == 1 / 2
    users = Clicks(["c"], np.array([1]), np.ones(1), users=np.ones((1, 3), dtype=np.float32))
    assert label_clicks(model, users, PLAIN).examples.users.shape == (1, 3)
    joined = join_clicks(pool, made.examples)
    assert joined.labels.tolist() == [0, 0, 0, 1, 0]
    assert joined.weights == pytest.approx([1, 1, 1, 0.95, 0.9])
    with pytest.raises(ExamplesMismatchError, match="queries or user vectors"):
        join_clicks(pool, users)


def test_true_labels_count_one_beside_guesses() -> None:
    guesses = LabeledTexts(["x"], ["A"], np.array([0.5]))
    joined = join_texts(LabeledTexts(["y"], ["B"]), guesses)
    assert (list(joined.texts), list(joined.labels)) == (["y", "x"], ["B", "A"])
    assert joined.weights.tolist() == [1.0, 0.5]
    tags = join_tags(TaggedTexts([["y"]], [["O"]], np.array([2.0])), TaggedTexts([["x"]], [["O"]]))
    assert tags.weights.tolist() == [2.0, 1.0]
    with pytest.raises(ExamplesMismatchError, match="weights 2"):
        LabeledTexts(["x"], ["A"], np.ones(2))
    with pytest.raises(LabelOutOfRangeError, match="weight of example 0 is 0"):
        TaggedTexts([["x"]], [["O"]], np.zeros(1))


def test_weights_multiply_the_loss_of_their_texts(tiny_network: Networks) -> None:
    network = tiny_network()
    examples = LabeledTexts(["red mug", "blue cup"], ["A", "B"], np.array([0.25, 2.0]))
    task = ClassificationTask(network, examples)
    task.module.eval()
    batch = task.make_batch(np.array([1, 0]), np.random.default_rng(0))
    outputs = task.outputs(batch)
    terms = functional.cross_entropy(outputs, torch.tensor([1, 0]), reduction="none")
    torch.testing.assert_close(task.loss(outputs, batch), 2.0 * terms[0] + 0.25 * terms[1])

    tagged = TaggedTexts([["red", "mug"], ["cup"]], [["O", "B-item"], ["B-item"]], np.array([0.5, 3.0]))
    tagging = TaggingTask(network, tagged)
    tagging.module.eval()
    batch = tagging.make_batch(np.array([1, 0]), np.random.default_rng(0))
    outputs = tagging.outputs(batch)
    terms = functional.cross_entropy(outputs, batch.inputs.labels_T, reduction="none")
    expected = 3.0 * terms[0] + 0.5 * (terms[1] + terms[2])
    torch.testing.assert_close(tagging.loss(outputs, batch), expected)
