"""Candidates of a user in the order of what followed: listwise softmax, or a click's probability for each.

What one list must learn from is a list with at least one wanted candidate; others have no order and are left out.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recsys_batch.nn.learning.contrastive import listwise_softmax, softmax_divergence
from recsys_batch.nn.learning.losses import symmetric_click_divergence_sum
from recsys_batch.nn.scoring.ranker import CandidateLists, CandidateRanker
from recsys_batch.rules.metrics.ranking import hit_rate, ndcg
from recsys_batch.training.examples.columns import ExamplesMismatchError, check_range
from recsys_batch.training.loop.task import TaskBatch

RankingLoss = Literal["listwise", "pointwise"]


@dataclass(frozen=True)
class RankedCandidates:
    """Candidates and how much each is wanted (U, C): 0 or more, 1 for the item that followed."""

    lists: CandidateLists
    gains_UC: Tensor

    def __post_init__(self) -> None:
        """Raise ExamplesMismatchError for other shapes, LabelOutOfRangeError for a negative or infinite gain."""
        if self.gains_UC.shape != self.lists.mask_UC.shape:
            raise ExamplesMismatchError(
                f"gains have the shape {tuple(self.gains_UC.shape)}, the candidates {tuple(self.lists.mask_UC.shape)}"
            )
        check_range("gain", self.gains_UC[self.lists.mask_UC].double().numpy(), 0.0, 1e6)

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.gains_UC)

    def best_ranks(self, scores_UC: Tensor) -> NDArray[np.int64]:
        """Return the 1-based place of each user's most wanted candidate by score; 0 where nothing is wanted.

        Of like scores the earlier candidate comes first.
        """
        gains_UC = self.gains_UC.masked_fill(~self.lists.mask_UC, 0.0)
        order_UC = scores_UC.argsort(dim=1, descending=True, stable=True)
        place_U = gains_UC.gather(1, order_UC).argmax(1) + 1
        return torch.where(gains_UC.amax(1) > 0, place_U, 0).numpy().astype(np.int64)


class CandidateRankingTask:
    """Trains a ranker; `evaluate` gives hit rate and NDCG over all held-out users, found among candidates or not."""

    def __init__(
        self,
        ranker: CandidateRanker,
        train: RankedCandidates,
        held_out: RankedCandidates | None = None,
        *,
        loss: RankingLoss = "listwise",
        k: int = 10,
        name: str = "ranking",
    ) -> None:
        """Learn from the lists in `train` that hold something wanted."""
        self.name = name
        self.module = ranker
        self.train, self.held_out = train, held_out
        self.kind: RankingLoss = loss
        self.k = k
        wanted_UC = train.gains_UC.masked_fill(~train.lists.mask_UC, 0.0) > 0
        self._users = wanted_UC.any(1).nonzero().flatten()

    def __len__(self) -> int:
        """Return the number of lists to learn from."""
        return len(self._users)

    def start_epoch(self, epoch: int) -> None:
        """Nothing to prepare."""

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:  # noqa: ARG002
        """Return these lists."""
        rows = self._users[torch.from_numpy(indices)]
        batch = RankedCandidates(self.train.lists.take(rows), self.train.gains_UC[rows])
        num_candidates = int(batch.lists.mask_UC.sum())
        return TaskBatch(batch, len(rows) if self.kind == "listwise" else num_candidates, num_candidates)

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return scores (U, C)."""
        ranked: RankedCandidates = batch.inputs
        scores_UC: Tensor = self.module(ranked.lists.to(self.module.mean_F.device))
        return scores_UC

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the sum over lists of the softmax's cross-entropy, or over candidates of the sigmoid's."""
        gains_UC, mask_UC = self._targets(outputs, batch)
        if self.kind == "listwise":
            return listwise_softmax(outputs.float(), gains_UC, 1.0, mask_UC)
        wanted_UC = gains_UC.clamp(max=1.0)
        terms_UC = functional.binary_cross_entropy_with_logits(outputs.float(), wanted_UC, reduction="none")
        return terms_UC[mask_UC].sum()

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:
        """Return how far apart two passes are, summed over lists, or over candidates."""
        _, mask_UC = self._targets(first, batch)
        if self.kind == "listwise":
            return softmax_divergence(first.float(), second.float(), 1.0, mask_UC)
        return symmetric_click_divergence_sum(first[mask_UC], second[mask_UC])

    def evaluate(self) -> dict[str, float]:
        """Return `hit_rate@k` and `ndcg@k` of each held-out user's most wanted candidate."""
        if self.held_out is None:
            return {}
        ranks_U = self.held_out.best_ranks(self.module.score(self.held_out.lists))
        return {f"hit_rate@{self.k}": hit_rate(ranks_U, self.k), f"ndcg@{self.k}": ndcg(ranks_U, self.k)}

    @staticmethod
    def _targets(outputs: Tensor, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        ranked: RankedCandidates = batch.inputs
        return ranked.gains_UC.to(outputs.device).float(), ranked.lists.mask_UC.to(outputs.device)
