"""Texts of a task, tokenized once; and what the network makes of many texts: in a training batch, or not learning."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recsys_batch.nn.learning.text_network import TextBatch, TextNetwork

EVALUATION_BATCH = 128
"""Texts of a forward pass without gradients."""

_ROWS_TOGETHER = 32
"""Texts of a forward pass among those of one training batch."""


Augment = Callable[[str, np.random.Generator], str]
"""Changes a text, or not, by a generator."""


class TextSet:
    """A column of texts: equal ones are tokenized once."""

    def __init__(self, network: TextNetwork, texts: Sequence[str], augment: Augment | None = None) -> None:
        """Tokenize with the network's tokenizer; what `augment` changes is tokenized when it is read. Raises TypeError
        for what is no string.
        """
        self._network = network
        self._augment, self._texts = augment, texts
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        self._ids = [found or [network.pad_id] for found in network.tokenizer.ids(list(rows))]
        self._row_N = np.array([rows[text] for text in texts], dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of texts, equal ones counted apart."""
        return len(self._row_N)

    def batch(self, indices: NDArray[np.int64]) -> TextBatch:
        """Return the texts at these positions."""
        return self._network.collate([self._ids[row] for row in self._row_N[indices]])

    def training_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TextBatch:
        """Return the texts at these positions, augmented where that is set."""
        if self._augment is None:
            return self.batch(indices)
        return self._network.tokenize([self._augment(self._texts[index], rng) for index in indices])

    def distinct_batch(self, indices: NDArray[np.int64]) -> tuple[TextBatch, Tensor]:
        """Return the distinct texts at these positions, and for each position its row among them."""
        rows, place_B = np.unique(self._row_N[indices], return_inverse=True)
        return self._network.collate([self._ids[row] for row in rows]), torch.from_numpy(place_B)

    def pooled(self) -> Tensor:
        """Return the vectors (N, H) of all texts on the CPU, the network in evaluation mode, without gradients."""
        lengths = [len(ids) for ids in self._ids]
        vectors_UH = torch.zeros((len(lengths), self._network.dim))
        with evaluating(self._network):
            for rows in batches_by_length(lengths):
                batch = self._network.collate([self._ids[row] for row in rows])
                vectors_UH[rows] = self._network.pooled(batch).float().cpu()
        return vectors_UH[torch.from_numpy(self._row_N)]


def batches_by_length(lengths: Sequence[int], size: int = EVALUATION_BATCH) -> list[list[int]]:
    """Return the positions in batches of similar lengths, so that little is padded."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[start : start + size] for start in range(0, len(order), size)]


def embed_by_length(network: TextNetwork, texts: TextBatch, rows: int = _ROWS_TOGETHER) -> Tensor:
    """Return unit vectors (N, H) as `TextNetwork.embed` does, texts of like length run together."""
    return functional.normalize(pooled_by_length(network, texts, rows).float(), dim=1)


def pooled_by_length(network: TextNetwork, texts: TextBatch, rows: int = _ROWS_TOGETHER) -> Tensor:
    """Return vectors (N, H) as `TextNetwork.pooled` does, texts of like length run together: a long one does not fill
    up all the others.
    """
    lengths_N = texts.mask_BL.sum(1)
    order_N = torch.argsort(lengths_N, stable=True)
    parts = []
    for part in torch.split(order_N, rows):
        longest = int(lengths_N[part].max())
        parts.append(network.pooled(TextBatch(texts.ids_BL[part, :longest], texts.mask_BL[part, :longest])))
    back_N = torch.empty_like(order_N)
    back_N[order_N] = torch.arange(len(order_N))
    return torch.cat(parts)[back_N.to(parts[0].device)]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch dropout and gradients off; every part's mode is as before afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
