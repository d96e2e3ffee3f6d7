"""Regression: a number of a text, such as a rating, by a linear layer and the mean squared error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys_batch.nn.learning.heads import NumberHead
from recsys_batch.nn.learning.losses import squared_error_sum
from recsys_batch.nn.learning.text_network import TextBatch, TextNetwork
from recsys_batch.rules.metrics.labels import rmse
from recsys_batch.training.examples.columns import RatedTexts
from recsys_batch.training.examples.text_sets import Augment, TextSet, evaluating
from recsys_batch.training.loop.task import TaskBatch


@dataclass(frozen=True)
class NumberInputs:
    """Texts and their numbers, standardized."""

    text: TextBatch
    targets_B: Tensor


class RegressionTask:
    """Learns numbers that are standardized by the training examples; predicts and evaluates in their own units."""

    def __init__(
        self,
        network: TextNetwork,
        train: RatedTexts,
        held_out: RatedTexts | None = None,
        *,
        name: str = "regression",
        dropout: float = 0.1,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        """Tokenize the examples."""
        self.name = name
        self.network = network
        mean = float(train.values.mean()) if len(train) else 0.0
        spread = float(train.values.std()) if len(train) else 1.0
        self.head = NumberHead(network.dim, mean, spread or 1.0, dropout, seed)
        self.module = nn.ModuleDict({"encoder": network, "head": self.head})
        self._texts = TextSet(network, train.texts, augment)
        self._targets = self.head.standardize(torch.from_numpy(train.values)).float()
        self._held_out = TextSet(network, held_out.texts) if held_out is not None else None
        self._held_out_values = held_out.values if held_out is not None else np.zeros(0)
        # A prediction beyond what a rating can be is only further off.
        self._low, self._high = train.low, train.high

    def __len__(self) -> int:
        """Return the number of training texts."""
        return len(self._texts)

    def start_epoch(self, epoch: int) -> None:
        """Nothing to prepare."""

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        """Return the texts of these positions and their standardized numbers."""
        text = self._texts.training_batch(indices, rng)
        return TaskBatch(NumberInputs(text, self._targets[torch.from_numpy(indices)]), len(indices), text.num_tokens)

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return standardized predictions (B)."""
        numbers_B: Tensor = self.head(self.network.pooled(batch.inputs.text))
        return numbers_B

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the squared errors, summed over the texts."""
        return squared_error_sum(outputs, batch.inputs.targets_B.to(outputs.device))

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:  # noqa: ARG002
        """Return the squared differences of two passes, summed over the texts."""
        return squared_error_sum(first, second)

    def evaluate(self) -> dict[str, float]:
        """Return the root mean squared error on the held-out texts, in the numbers' own units."""
        if self._held_out is None:
            return {}
        return {"rmse": rmse(self._held_out_values, self._predict(self._held_out))}

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return a number a text (N) in the training numbers' units and range, dropout off."""
        return self._predict(TextSet(self.network, texts))

    def _predict(self, texts: TextSet) -> NDArray[np.float64]:
        vectors_NH = texts.pooled()
        with evaluating(self.head):
            numbers_N = self.head.restore(self.head(vectors_NH.to(self.network.device)))
        found: NDArray[np.float64] = numbers_N.cpu().numpy().clip(self._low, self._high)
        return found
