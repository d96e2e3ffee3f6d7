"""Tasks of single texts: category, rating, tags. Each has a head of its own, kept beside the encoder."""

from pathlib import Path

import numpy as np

from recsys_batch.contracts.config.tasks import Classification, RatingRegression, Tagging
from recsys_batch.contracts.datasets import SPLITS, TEST, TRAIN, VALID
from recsys_batch.nn.learning.heads import load_head, save_head
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.rules.metrics.labels import accuracy, macro_f1, rmse
from recsys_batch.rules.metrics.spans import macro_f1 as span_macro_f1
from recsys_batch.rules.metrics.spans import micro_scores, score_spans
from recsys_batch.training.examples.columns import LabeledTexts, RatedTexts, TaggedTexts
from recsys_batch.training.shop.base import HEADS, Measured, Shared, head_folder, name_cases, need_examples, pair_up
from recsys_batch.training.shop.tag_files import read_tags
from recsys_batch.training.tasks.classification import ClassificationTask
from recsys_batch.training.tasks.regression import RegressionTask
from recsys_batch.training.tasks.tagging import TaggingTask, tag_names


class CategoryTask:
    """The category of an item."""

    main_metric = "accuracy"

    def __init__(
        self, settings: Classification, shared: Shared, network: TextNetwork, model: Path | None = None
    ) -> None:
        """Make the task of the exported examples; with `model`, of the head that is kept there, to measure only."""
        self._test = shared.files.categories(TEST)
        if model is not None:
            head, notes = load_head(head_folder(model, settings.name))
            self.task = ClassificationTask(network, LabeledTexts([], []), classes=notes["classes"], name=settings.name)
            self.task.head.load_state_dict(head.state_dict())
            return
        train, valid = shared.files.categories(TRAIN), shared.files.categories(VALID)
        need_examples(settings.name, len(train), "items with a category")
        # A class of the other parts alone cannot be learned; its items count as wrong.
        classes = sorted({label for part in SPLITS for label in shared.files.categories(part).labels})
        self.task = ClassificationTask(
            network,
            train,
            valid if len(valid) else None,
            classes=classes,
            name=settings.name,
            dropout=settings.dropout,
            balanced=settings.balanced,
            augment=shared.augment,
            seed=shared.seed,
        )

    def measure(self) -> Measured:
        """Return accuracy and macro F1; the cases are the items' texts, 1 where the class is right."""
        if not len(self._test):
            return Measured()
        predicted = [self.task.classes[row] for row in self.task.probabilities(self._test.texts).argmax(1)]
        known = {label: place for place, label in enumerate(sorted({*self._test.labels, *predicted}))}
        labels_N, predicted_N = (np.array([known[label] for label in side]) for side in (self._test.labels, predicted))
        cases = pair_up(name_cases(self._test.texts), (labels_N == predicted_N).astype(np.float64))
        metrics = {"accuracy": accuracy(labels_N, predicted_N), "macro_f1": macro_f1(labels_N, predicted_N)}
        return Measured(metrics, {"accuracy": cases})

    def save(self, folder: Path) -> None:
        """Keep the head and the classes' names."""
        save_head(self.task.head, folder / HEADS / self.task.name, {"classes": list(self.task.classes)})


class RatingTask:
    """The stars of a review."""

    main_metric = "-squared_error"

    def __init__(
        self, settings: RatingRegression, shared: Shared, network: TextNetwork, model: Path | None = None
    ) -> None:
        """Make the task; `model` as in CategoryTask. Raises LabelOutOfRangeError for a rating beyond low..high."""
        self._settings = settings
        low, high = settings.low, settings.high
        self._test = shared.files.ratings(TEST, low, high)
        if model is not None:
            head, _ = load_head(head_folder(model, settings.name))
            self.task = RegressionTask(network, RatedTexts([], np.zeros(0), low, high), name=settings.name)
            self.task.head.load_state_dict(head.state_dict())
            return
        train, valid = shared.files.ratings(TRAIN, low, high), shared.files.ratings(VALID, low, high)
        need_examples(settings.name, len(train), "ratings")
        self.task = RegressionTask(
            network,
            train,
            valid if len(valid) else None,
            name=settings.name,
            dropout=settings.dropout,
            augment=shared.augment,
            seed=shared.seed,
        )

    def measure(self) -> Measured:
        """Return the root mean squared error; the cases are the rated texts, with the negated squared error."""
        if not len(self._test):
            return Measured()
        predicted_N = self.task.predict(self._test.texts)
        errors_N = -((predicted_N - self._test.values) ** 2)
        cases = pair_up(name_cases(self._test.texts), errors_N)
        return Measured({"rmse": rmse(self._test.values, predicted_N)}, {self.main_metric: cases})

    def save(self, folder: Path) -> None:
        """Keep the head and the range of the ratings."""
        notes = {"low": self._settings.low, "high": self._settings.high}
        save_head(self.task.head, folder / HEADS / self.task.name, notes)


class TagTask:
    """Tags of words, from files."""

    main_metric = "exact"

    def __init__(self, settings: Tagging, shared: Shared, network: TextNetwork, model: Path | None = None) -> None:
        """Make the task; `model` as in CategoryTask. Raises what `read_tags` raises."""
        self._test = read_tags(settings.test_file) if settings.test_file else TaggedTexts([], [])
        if model is not None:
            head, notes = load_head(head_folder(model, settings.name))
            self.task = TaggingTask(network, TaggedTexts([], []), names=notes["tags"], name=settings.name)
            self.task.head.load_state_dict(head.state_dict())
            return
        train = read_tags(settings.file)
        need_examples(settings.name, len(train), f"texts in {settings.file}")
        self.task = TaggingTask(
            network,
            train,
            read_tags(settings.valid_file) if settings.valid_file else None,
            names=tag_names([*train.tags, *self._test.tags]),
            name=settings.name,
            dropout=settings.dropout,
            balanced=settings.balanced,
            seed=shared.seed,
        )

    def measure(self) -> Measured:
        """Return precision, recall and F1 of exact spans; the cases are the texts, 1 where every tag is right."""
        if not len(self._test):
            return Measured()
        predicted = self.task.predict(self._test.words)
        by_kind = score_spans(self._test.tags, predicted)
        micro = micro_scores(by_kind)
        exact_N = np.array([list(a) == list(b) for a, b in zip(self._test.tags, predicted, strict=True)], np.float64)
        metrics = {
            "f1": micro.f1,
            "precision": micro.precision,
            "recall": micro.recall,
            "macro_f1": span_macro_f1(by_kind),
            "exact": float(exact_N.mean()),
        }
        return Measured(
            metrics, {"exact": pair_up(name_cases([" ".join(words) for words in self._test.words]), exact_N)}
        )

    def save(self, folder: Path) -> None:
        """Keep the head and the tags' names."""
        save_head(self.task.head, folder / HEADS / self.task.name, {"tags": list(self.task.names)})
