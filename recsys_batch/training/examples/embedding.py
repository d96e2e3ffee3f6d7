"""Many texts to vectors with the network as it stands in training; the night itself uses `nn.Encoder`."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from recsys_batch.nn.learning.text_network import TextNetwork


def embed_texts(
    network: TextNetwork, texts: Sequence[str], *, tokens_a_batch: int = 8192, bfloat16: bool = False
) -> Tensor:
    """Return unit vectors (N, H) in float32 on the CPU, in the order of the texts, without dropout or gradients.

    Texts of like length go together, at most `tokens_a_batch` padded tokens at once. `bfloat16`: faster arithmetic
    where the CPU has it, with vectors that differ by about 0.01; enough for mining. The network's mode is left as it
    was.
    """
    vectors_NH = torch.empty((len(texts), network.dim))
    order = np.argsort([len(text) for text in texts], kind="stable")
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode(), torch.autocast(network.device.type, torch.bfloat16, enabled=bfloat16):
            for window in range(0, len(order), 2048):
                _embed_window(network, texts, order[window : window + 2048], tokens_a_batch, vectors_NH)
    finally:
        network.train(was_training)
    return vectors_NH.clone()


def _embed_window(
    network: TextNetwork, texts: Sequence[str], rows_N: np.ndarray, tokens_a_batch: int, vectors_NH: Tensor
) -> None:
    ids = [found or [network.pad_id] for found in network.tokenizer.ids([texts[row] for row in rows_N])]
    by_length = np.argsort([len(found) for found in ids], kind="stable")
    start = 0
    while start < len(by_length):
        stop = start + 1
        while stop < len(by_length) and (stop + 1 - start) * len(ids[by_length[stop]]) <= tokens_a_batch:
            stop += 1
        part = by_length[start:stop]
        vectors_NH[rows_N[part]] = network.embed(network.collate([ids[row] for row in part])).float().cpu()
        start = stop
