"""SimCSE without labels (Gao, Yao and Chen, 2021): a text should be nearest to itself under another dropout."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recsys_batch.nn.learning.contrastive import info_nce, softmax_divergence
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.text_sets import EVALUATION_BATCH, TextSet, embed_by_length, evaluating
from recsys_batch.training.loop.sampling import derive_seed
from recsys_batch.training.loop.task import TaskBatch


class SimCseTask:
    """InfoNCE between two passes of the same texts, the batch's other texts being the negatives."""

    def __init__(
        self,
        network: TextNetwork,
        train: Sequence[str],
        held_out: Sequence[str] = (),
        *,
        temperature: float = 0.05,
        seed: int = 0,
        name: str = "simcse",
    ) -> None:
        """Tokenize the texts. Raises ValueError for a temperature that is not positive."""
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        self.name = name
        self.network = network
        self.module: nn.Module = network
        self.temperature = temperature
        self._texts = TextSet(network, train)
        self._held_out = TextSet(network, list(dict.fromkeys(held_out)))
        self._seed = derive_seed(seed, "held out", name) % 2**63

    def __len__(self) -> int:
        """Return the number of training texts."""
        return len(self._texts)

    def start_epoch(self, epoch: int) -> None:
        """Nothing to prepare."""

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:  # noqa: ARG002
        """Return the texts of these positions; equal ones once, or one would be the other's negative."""
        return self._batch(self._texts, indices)

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return cosines (B, B) between the first and the second pass; they differ by dropout."""
        first_BH, second_BH = (embed_by_length(self.network, batch.inputs) for _ in range(2))
        with torch.autocast(first_BH.device.type, enabled=False):
            return first_BH.float() @ second_BH.float().T

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:  # noqa: ARG002
        """Return the cross-entropy of each text's own second pass among all, summed."""
        return info_nce(outputs, torch.arange(len(outputs), device=outputs.device), self.temperature)

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:  # noqa: ARG002
        """Return how far apart the rankings of two pairs of passes are."""
        return softmax_divergence(first, second, self.temperature)

    def evaluate(self) -> dict[str, float]:
        """Return of the held-out texts the loss under a dropout that is the same every time, and `uniformity`: the log
        of the mean of exp(-2 d^2) over pairs without dropout, the lower the better spread (Wang and Isola, 2020).
        """
        if len(self._held_out) < 2:
            return {}
        total, count = 0.0, 0.0
        devices = [self.network.device] if self.network.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), evaluating(self.module):
            torch.manual_seed(self._seed)
            self.module.train()
            for start in range(0, len(self._held_out), EVALUATION_BATCH):
                batch = self._batch(
                    self._held_out, np.arange(start, min(start + EVALUATION_BATCH, len(self._held_out)))
                )
                total += float(self.loss(self.outputs(batch), batch))
                count += batch.count
        return {"loss": total / count, "uniformity": self._uniformity()}

    def _batch(self, texts: TextSet, indices: NDArray[np.int64]) -> TaskBatch:
        text, _ = texts.distinct_batch(indices)
        return TaskBatch(text, float(len(text.ids_BL)), text.num_tokens)

    def _uniformity(self) -> float:
        vectors_NH = functional.normalize(self._held_out.pooled()[:2048], dim=1)
        return float(torch.pdist(vectors_NH).pow(2).mul(-2).exp().mean().log())
