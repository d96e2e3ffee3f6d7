"""What the tasks share that predict tokens: logits of the tokens asked for, their loss, held-out perplexity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys_batch.nn.learning.language_model import LanguageModel
from recsys_batch.nn.learning.losses import cross_entropy_sum, symmetric_divergence_sum
from recsys_batch.training.examples.text_sets import EVALUATION_BATCH, evaluating
from recsys_batch.training.examples.token_batches import TokenPart, order_by_length, split_parts
from recsys_batch.training.loop.task import TaskBatch

Ids = NDArray[np.int64]
_LARGEST_EXPONENT = 700.0


@dataclass(frozen=True)
class TokenInputs:
    """Texts in parts of like length, read at some places, and the tokens asked for there: T, part after part."""

    parts: Sequence[TokenPart]
    labels_T: Tensor


@dataclass(frozen=True)
class TokenExample:
    """One text's tokens, the places whose states are read, and the tokens asked for there."""

    ids_L: Ids
    places: Ids
    labels: Ids


class LanguageTask:
    """Base: subclasses make batches; the loss is over the tokens asked for alone."""

    def __init__(self, model: LanguageModel, name: str) -> None:
        """Learn with a language model; other tasks may train its encoder too."""
        self.name = name
        self.model = model
        self.module: nn.Module = model
        self._held_out: list[TaskBatch] = []

    def start_epoch(self, epoch: int) -> None:
        """Nothing to prepare."""

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return the logits (T, V) of the tokens asked for."""
        network = self.model.network
        states = [
            network.states(part.text)[part.row_T.to(network.device), part.token_T.to(network.device)]
            for part in batch.inputs.parts
        ]
        return self.model.token_logits(torch.cat(states))

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the cross-entropy, summed over the tokens asked for."""
        return cross_entropy_sum(outputs, batch.inputs.labels_T.to(outputs.device))

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:  # noqa: ARG002
        """Return the symmetric divergence, summed over the tokens asked for."""
        return symmetric_divergence_sum(first, second)

    def evaluate(self) -> dict[str, float]:
        """Return the mean loss of the tokens asked for in held-out texts, the same ones in every evaluation, and the
        perplexity: its exponential.
        """
        if not self._held_out:
            return {}
        total, count = 0.0, 0.0
        with evaluating(self.module):
            for batch in self._held_out:
                total += float(self.loss(self.outputs(batch), batch))
                count += batch.count
        return {"loss": total / count, "perplexity": math.exp(min(total / count, _LARGEST_EXPONENT))}

    def token_batch(self, examples: Sequence[TokenExample]) -> TaskBatch:
        """Return examples as a batch, short ones first."""
        ordered = [examples[place] for place in order_by_length([example.ids_L for example in examples])]
        network = self.model.network
        parts = split_parts(
            [example.ids_L for example in ordered],
            [example.places for example in ordered],
            network.pad_id,
            network.max_tokens,
        )
        labels_T = torch.from_numpy(np.concatenate([example.labels for example in ordered]))
        return TaskBatch(
            TokenInputs(parts, labels_T), float(len(labels_T)), sum(part.text.num_tokens for part in parts)
        )

    def token_batches(self, examples: Sequence[TokenExample]) -> list[TaskBatch]:
        """Return examples as batches of a forward pass without gradients."""
        starts = range(0, len(examples), EVALUATION_BATCH)
        return [self.token_batch(examples[start : start + EVALUATION_BATCH]) for start in starts]
