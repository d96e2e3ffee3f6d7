"""Click ranking: how likely a shopper with this query, or this user, clicks this item, whatever its place in the list.

Sigmoid and binary cross-entropy; clicks are weighted by the inverse propensity of their position.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys_batch.nn.learning.heads import PairHead
from recsys_batch.nn.learning.losses import symmetric_click_divergence_sum, weighted_click_loss_sum
from recsys_batch.nn.learning.text_network import TextBatch, TextNetwork
from recsys_batch.rules.metrics.labels import auc
from recsys_batch.training.examples.columns import Clicks
from recsys_batch.training.examples.text_sets import EVALUATION_BATCH, TextSet, evaluating, pooled_by_length
from recsys_batch.training.loop.task import TaskBatch


@dataclass(frozen=True)
class ClickInputs:
    """The batch's distinct texts, each pair's row among them (or its user's vector), and what came of it."""

    text: TextBatch
    item_B: Tensor
    query_B: Tensor | None
    users_BD: Tensor | None
    labels_B: Tensor
    weights_B: Tensor


class _Pairs:
    """Clicks with their texts tokenized."""

    def __init__(self, network: TextNetwork, clicks: Clicks) -> None:
        self.clicks = clicks
        self.num_pairs = len(clicks)
        # Queries behind the items, so that a text that is both runs once.
        self.texts = TextSet(network, [*clicks.items, *(clicks.queries or ())])
        self.users = torch.from_numpy(clicks.users) if clicks.users is not None else None
        self.labels = torch.from_numpy(clicks.labels)
        self.weights = torch.from_numpy(clicks.weights)

    def inputs(self, indices: NDArray[np.int64]) -> ClickInputs:
        chosen = torch.from_numpy(indices)
        num = len(indices)
        positions = indices if self.users is not None else np.concatenate([indices, indices + self.num_pairs])
        text, place = self.texts.distinct_batch(positions)
        users_BD = self.users[chosen] if self.users is not None else None
        query_B = place[num:] if self.users is None else None
        return ClickInputs(text, place[:num], query_B, users_BD, self.labels[chosen], self.weights[chosen])


class ClickRankingTask:
    """Learns the probability of a click."""

    def __init__(
        self,
        network: TextNetwork,
        train: Clicks,
        held_out: Clicks | None = None,
        *,
        name: str = "clicks",
        dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        """Tokenize the examples."""
        self.name = name
        self.network = network
        left_dim = train.users.shape[1] if train.users is not None else 0
        self.head = PairHead(network.dim, left_dim, dropout, seed)
        self.module = nn.ModuleDict({"encoder": network, "head": self.head})
        self._pairs = _Pairs(network, train)
        self._held_out = _Pairs(network, held_out) if held_out is not None else None

    def __len__(self) -> int:
        """Return the number of training pairs."""
        return self._pairs.num_pairs

    def start_epoch(self, epoch: int) -> None:
        """Nothing to prepare."""

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:  # noqa: ARG002
        """Return the pairs of these positions; a text of several pairs is read once."""
        inputs = self._pairs.inputs(indices)
        return TaskBatch(inputs, len(indices), inputs.text.num_tokens)

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return the logits (B) of a click."""
        inputs: ClickInputs = batch.inputs
        vectors_UH = pooled_by_length(self.network, inputs.text)  # queries are short, items are not
        device = vectors_UH.device
        if inputs.query_B is not None:
            left_BH = vectors_UH[inputs.query_B.to(device)]
        else:
            assert inputs.users_BD is not None  # one of both is there  # noqa: S101
            left_BH = inputs.users_BD.to(device)
        logits_B: Tensor = self.head(left_BH, vectors_UH[inputs.item_B.to(device)])
        return logits_B

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the weighted binary cross-entropy, summed over the pairs."""
        inputs: ClickInputs = batch.inputs
        return weighted_click_loss_sum(outputs, inputs.labels_B.to(outputs.device), inputs.weights_B.to(outputs.device))

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:  # noqa: ARG002
        """Return the symmetric divergence of two passes, summed over the pairs."""
        return symmetric_click_divergence_sum(first, second)

    def evaluate(self) -> dict[str, float]:
        """Return the area under the ROC curve on the held-out pairs: as logged, and weighted against position bias."""
        if self._held_out is None:
            return {}
        clicks = self._held_out.clicks
        scores = self._score(self._held_out).astype(np.float64)
        return {"auc": auc(clicks.labels, scores), "auc_unbiased": auc(clicks.labels, scores, clicks.weights)}

    def probabilities(
        self, items: Sequence[str], queries: Sequence[str] | None = None, users: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return the probability (N) of a click on each item under its query, or by its user; dropout off."""
        num = len(items)
        clicks = Clicks(items, np.zeros(num, dtype=np.int64), np.ones(num), queries, users)
        return self._score(_Pairs(self.network, clicks))

    def _score(self, pairs: _Pairs) -> NDArray[np.float32]:
        vectors = pairs.texts.pooled()
        items_NH = vectors[: pairs.num_pairs]
        left_NL = pairs.users if pairs.users is not None else vectors[pairs.num_pairs :]
        device, size = self.network.device, EVALUATION_BATCH * 8
        found = []
        with evaluating(self.head):
            for start in range(0, pairs.num_pairs, size):
                items_BH, left_BL = items_NH[start : start + size], left_NL[start : start + size]
                found.append(self.head(left_BL.to(device), items_BH.to(device)).sigmoid().cpu())
        probabilities_N: NDArray[np.float32] = torch.cat([torch.zeros(0), *found]).numpy()
        return probabilities_N
