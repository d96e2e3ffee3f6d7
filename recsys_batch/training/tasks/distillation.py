"""Distillation: a student's vectors of texts should be the teacher's, and lie to each other as the teacher's do.

Needs no labels: any text of the kind that will be encoded teaches. Shapes: B texts of a batch, H student's width,
K teacher's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional

from recsys_batch.contracts.config.compress import Distillation
from recsys_batch.nn.learning.contrastive import listwise_softmax, margin_mse, softmax_divergence
from recsys_batch.nn.learning.student import main_axes
from recsys_batch.nn.learning.text_network import TextBatch, TextNetwork
from recsys_batch.training.examples.columns import check_lengths
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.examples.text_sets import TextSet, embed_by_length
from recsys_batch.training.loop.task import TaskBatch
from recsys_batch.training.tasks.query_document import truncate

_NEIGHBORS = 10
_NEVER = -2.0
"""Below every cosine."""


@dataclass(frozen=True)
class TaughtTexts:
    """Texts, prefixes included, and the teacher's unit vectors (N, K) of them."""

    texts: Sequence[str]
    vectors_NK: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        check_lengths(texts=self.texts, vectors=self.vectors_NK)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class TaughtBatch:
    """Some texts as tokens, and the teacher's unit vectors of them."""

    text: TextBatch
    teacher_BK: Tensor


class DistillationTask:
    """Learns from a teacher's vectors. Where the student is narrower, a projection to the teacher's width learns too;
    it is part of training only.
    """

    def __init__(
        self,
        network: TextNetwork,
        train: TaughtTexts,
        settings: Distillation,
        held_out: TaughtTexts | None = None,
        *,
        name: str = "distillation",
        bfloat16: bool = False,
        dropout: bool = False,
    ) -> None:
        """Tokenize the texts, and switch off the network's dropout: the teacher's vectors are no few labels that a
        network of this size could learn by heart, and noise only keeps it from following them.

        `bfloat16`: evaluate in it. `dropout`: leave dropout on, for the other tasks that learn on the same network.
        """
        if not dropout:
            for part in network.modules():
                if isinstance(part, nn.Dropout):
                    part.p = 0.0
        self.name = name
        self.network = network
        self.settings = settings
        self._texts = TextSet(network, train.texts)
        self._teacher_NK = torch.from_numpy(train.vectors_NK)
        self._held_out = held_out
        self._bfloat16 = bfloat16
        self.module: nn.Module = network
        self._projection: nn.Linear | None = None
        width = train.vectors_NK.shape[1]
        if width != network.dim:
            self._projection = nn.Linear(network.dim, width, bias=False)
            with torch.no_grad():  # every student dimension starts as one of the main axes of the teacher's vectors
                axes_KH = main_axes(self._teacher_NK, min(width, network.dim))
                self._projection.weight.zero_()[:, : axes_KH.shape[1]] = axes_KH
            self.module = nn.ModuleDict({"encoder": network, "projection": self._projection})

    @property
    def dim(self) -> int:
        """Width of the student's vectors."""
        return self.network.dim

    def __len__(self) -> int:
        """Return the number of training texts."""
        return len(self._texts)

    def start_epoch(self, epoch: int) -> None:
        """Nothing to prepare."""

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:  # noqa: ARG002
        """Return the texts of these positions with the teacher's vectors."""
        text = self._texts.batch(indices)
        return TaskBatch(
            TaughtBatch(text, self._teacher_NK[torch.from_numpy(indices)]), float(len(indices)), text.num_tokens
        )

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return (B, 1 + B): each text's squared distance from the teacher's vector, then its cosines to the batch."""
        return self.compare(self.vectors(batch), batch)

    def vectors(self, batch: TaskBatch) -> tuple[Tensor]:
        """Return the student's unit vectors (B, H)."""
        return (embed_by_length(self.network, batch.inputs.text),)

    def compare(self, vectors: Sequence[Tensor], batch: TaskBatch) -> Tensor:
        """Return what `outputs` does for unit vectors that may be leading dimensions of those of `vectors`.

        Their distance from the teacher's vector counts 0 then: only their cosines have something to follow.
        """
        (student_BH,) = vectors
        with torch.autocast(student_BH.device.type, enabled=False):
            student_BH = student_BH.float()
            cosines_BB = student_BH @ student_BH.T
            distances_B = student_BH.new_zeros(len(student_BH))
            if student_BH.shape[1] == self.network.dim:
                teacher_BK = batch.inputs.teacher_BK.to(student_BH.device)
                distances_B = ((self._project(student_BH) - teacher_BK) ** 2).sum(1)
            return torch.cat([distances_B[:, None], cosines_BB], dim=1)

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the weighted sum of distances and of differences between the matrices of cosines."""
        teacher_BK = batch.inputs.teacher_BK.to(outputs.device)
        loss = self.settings.pointwise * outputs[:, 0].sum()
        if self.settings.pairwise and len(outputs) > 1:
            loss = loss + self.settings.pairwise * self._pairwise(outputs[:, 1:], teacher_BK @ teacher_BK.T)
        return loss

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:  # noqa: ARG002
        """Return how far apart the cosines of two passes are."""
        return softmax_divergence(first[:, 1:], second[:, 1:], self.settings.temperature)

    def evaluate(self, dimensions: Sequence[int] = ()) -> dict[str, float]:
        """Return how near the held-out texts' vectors are to the teacher's (`cosine`), and how alike both order the
        other held-out texts for each of them: `rank_correlation` (Spearman's, mean), `overlap@10` of the nearest.

        With `dimensions` also the two latter of the leading ones, as `overlap@10[dim=64]`.
        """
        if self._held_out is None:
            return {}
        teacher_NK = torch.from_numpy(self._held_out.vectors_NK)
        student_NH = embed_texts(self.network, self._held_out.texts, bfloat16=self._bfloat16)
        with torch.no_grad():
            projected_NK = self._project(student_NH.to(self.network.device)).cpu()
        found = {"cosine": float((projected_NK * teacher_NK).sum(1).mean())}
        found |= compare_orders(student_NH, teacher_NK)
        for dim in dimensions:
            orders = compare_orders(truncate(student_NH, dim), teacher_NK)
            found |= {f"{metric}[dim={dim}]": value for metric, value in orders.items()}
        return found

    def _pairwise(self, student_BB: Tensor, teacher_BB: Tensor) -> Tensor:
        others_BB = ~torch.eye(len(student_BB), dtype=torch.bool, device=student_BB.device)
        if self.settings.pairwise_loss == "margin":
            nearest_B = teacher_BB.masked_fill(~others_BB, _NEVER).argmax(1)
            return margin_mse(student_BB, teacher_BB, nearest_B, others_BB)
        temperature = self.settings.temperature
        shares_BB = (teacher_BB / temperature).masked_fill(~others_BB, -torch.inf).softmax(1)
        # Less the teacher's own entropy: 0 where both agree.
        least = listwise_softmax(teacher_BB, shares_BB, temperature, others_BB)
        return listwise_softmax(student_BB, shares_BB, temperature, others_BB) - least

    def _project(self, student_BH: Tensor) -> Tensor:
        if self._projection is None:
            return student_BH
        return functional.normalize(self._projection(student_BH), dim=1)


def compare_orders(student_NH: Tensor, teacher_NK: Tensor, neighbors: int = _NEIGHBORS) -> dict[str, float]:
    """Return `rank_correlation` and `overlap@k` of two models' unit vectors of the same texts; see `evaluate`.

    Empty for fewer than three texts, whose others have no order.
    """
    num_texts = len(student_NH)
    if num_texts < 3:
        return {}
    own_N = np.arange(num_texts)
    cosines = [
        np.delete((v @ v.T).numpy(), own_N * num_texts + own_N).reshape(num_texts, -1) for v in (student_NH, teacher_NK)
    ]
    student_NO, teacher_NO = (rankdata(values, axis=1) for values in cosines)
    correlations_N = _correlate_rows(student_NO, teacher_NO)
    depth = min(neighbors, num_texts - 2)
    nearest = [np.argsort(-values, axis=1, kind="stable")[:, :depth] for values in cosines]
    shared = [len(np.intersect1d(a, b)) / depth for a, b in zip(*nearest, strict=True)]
    return {"rank_correlation": float(correlations_N.mean()), f"overlap@{neighbors}": float(np.mean(shared))}


def _correlate_rows(first_NO: NDArray[np.float64], second_NO: NDArray[np.float64]) -> NDArray[np.float64]:
    first_NO, second_NO = (rows - rows.mean(1, keepdims=True) for rows in (first_NO, second_NO))
    spread_N = np.sqrt((first_NO**2).sum(1) * (second_NO**2).sum(1))
    found: NDArray[np.float64] = (first_NO * second_NO).sum(1) / np.maximum(spread_N, np.finfo(np.float64).tiny)
    return found
