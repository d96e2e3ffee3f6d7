"""Classification of texts, such as an item's category: dropout, a linear layer, softmax."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys_batch.nn.learning.heads import ClassHead
from recsys_batch.nn.learning.losses import balanced_class_weights, cross_entropy_sum, symmetric_divergence_sum
from recsys_batch.nn.learning.text_network import TextBatch, TextNetwork
from recsys_batch.rules.metrics.labels import accuracy, macro_f1
from recsys_batch.training.examples.columns import LabeledTexts, index_labels
from recsys_batch.training.examples.text_sets import Augment, TextSet, evaluating
from recsys_batch.training.loop.task import TaskBatch


@dataclass(frozen=True)
class ClassInputs:
    """Texts and the place of each one's class among the classes."""

    text: TextBatch
    labels_B: Tensor
    weights_B: Tensor | None = None


class ClassificationTask:
    """Learns one of several classes a text by cross-entropy."""

    def __init__(
        self,
        network: TextNetwork,
        train: LabeledTexts,
        held_out: LabeledTexts | None = None,
        *,
        classes: Sequence[str] | None = None,
        name: str = "classification",
        dropout: float = 0.1,
        balanced: bool = False,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        """Tokenize the examples; `classes` by default are those of the training examples, ascending.

        `balanced` weighs every class by the inverse of its frequency. Raises LabelOutOfRangeError for a label that is
        none of the classes.
        """
        self.name = name
        self.classes = tuple(classes) if classes is not None else tuple(sorted(set(train.labels)))
        self.network = network
        self.head = ClassHead(network.dim, len(self.classes), dropout, seed)
        self.module = nn.ModuleDict({"encoder": network, "head": self.head})
        self._texts = TextSet(network, train.texts, augment)
        self._labels = torch.from_numpy(index_labels(f"{name}: label", train.labels, self.classes))
        self._weights = torch.from_numpy(train.weights) if train.weights is not None else None
        self._weights_C = balanced_class_weights(self._labels, len(self.classes)) if balanced else None
        self._held_out = TextSet(network, held_out.texts) if held_out is not None else None
        held_out_labels = held_out.labels if held_out is not None else ()
        self._held_out_labels = index_labels(f"{name}: held-out label", held_out_labels, self.classes)

    def __len__(self) -> int:
        """Return the number of training texts."""
        return len(self._texts)

    def start_epoch(self, epoch: int) -> None:
        """Nothing to prepare."""

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        """Return the texts of these positions and their labels."""
        text, chosen = self._texts.training_batch(indices, rng), torch.from_numpy(indices)
        weights_B = self._weights[chosen] if self._weights is not None else None
        return TaskBatch(ClassInputs(text, self._labels[chosen], weights_B), len(indices), text.num_tokens)

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return the logits (B, C)."""
        logits_BC: Tensor = self.head(self.network.pooled(batch.inputs.text))
        return logits_BC

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the weighted cross-entropy, summed over the texts."""
        inputs: ClassInputs = batch.inputs
        weights_C = self._weights_C.to(outputs.device) if self._weights_C is not None else None
        weights_B = inputs.weights_B.to(outputs.device) if inputs.weights_B is not None else None
        return cross_entropy_sum(outputs, inputs.labels_B.to(outputs.device), weights_C, weights_B)

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:  # noqa: ARG002
        """Return the symmetric divergence, summed over the texts."""
        return symmetric_divergence_sum(first, second)

    def evaluate(self) -> dict[str, float]:
        """Return the share of right classes among the held-out texts, and the mean F1 of the classes."""
        if self._held_out is None:
            return {}
        predicted = self._classify(self._held_out).argmax(1)
        labels = self._held_out_labels
        return {"accuracy": accuracy(labels, predicted), "macro_f1": macro_f1(labels, predicted)}

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the probabilities (N, C) of the classes, dropout off."""
        return self._classify(TextSet(self.network, texts))

    def _classify(self, texts: TextSet) -> NDArray[np.float32]:
        vectors_NH = texts.pooled()
        with evaluating(self.head):
            logits_NC: Tensor = self.head(vectors_NH.to(self.network.device))
        probabilities_NC: NDArray[np.float32] = logits_NC.softmax(1).cpu().numpy()
        return probabilities_NC
