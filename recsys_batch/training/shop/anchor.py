"""The anchor of a shop's encoder: training's queries and items stay where they were, as far as other tasks allow."""

from pathlib import Path

import torch

from recsys_batch.contracts.config.tasks import Anchor
from recsys_batch.contracts.datasets import TEST, TRAIN
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.shop.base import Measured, Shared, need_examples
from recsys_batch.training.tasks.anchor import anchor_to_start


class AnchorTask:
    """Nearness to the encoder that training began with."""

    main_metric = ""

    def __init__(self, settings: Anchor, shared: Shared, network: TextNetwork, model: Path | None = None) -> None:
        """Make the task, while the network is still as it begins: a run that goes on repeats this before it takes up
        its checkpoint. Raises ConfigError with `model`: a finished model does not hold what it began as.
        """
        if model is not None:
            raise ConfigError(f"training.tasks: {settings.name!r} is an anchor, which measures no finished model")
        texts = _texts(shared, TRAIN)
        need_examples(settings.name, len(texts), "items or queries")
        self._network = network
        self._test = _texts(shared, TEST)
        self._start_NH = embed_texts(network, self._test)
        self.task = anchor_to_start(network, texts, name=settings.name, bfloat16=shared.bfloat16)

    def measure(self) -> Measured:
        """Return the mean cosine of the test part's queries and items with what they were; 1: nothing moved."""
        if not self._test:
            return Measured()
        now_NH = embed_texts(self._network, self._test)
        return Measured({"cosine": float(torch.sum(now_NH * self._start_NH, dim=1).mean())})

    def save(self, folder: Path) -> None:
        """Nothing: the encoder is all there is."""


def _texts(shared: Shared, part: str) -> list[str]:
    """Return the distinct texts of a part as the encoder reads them."""
    query, document = shared.prefixes
    queries = {query + text for text in shared.files.clicks(part).queries or ()}
    return sorted(queries | {document + text for text in shared.files.texts_of(part).values()})
