"""Batches of token sequences whose lengths differ much (queries beside reviews): run in parts of like length.

A whole batch padded to its longest text would be padding for the most part. Few different lengths come out, because a
CPU compiles its products for every new shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys_batch.nn.learning.text_network import TextBatch

_ROWS_TOGETHER = 32
_LENGTHS_STEP = 8


@dataclass(frozen=True)
class TokenPart:
    """Some texts of like length, and the places (row, token) whose states are read: T of them."""

    text: TextBatch
    row_T: Tensor
    token_T: Tensor


def pad_batch(ids: Sequence[NDArray[np.int64]], pad_id: int) -> TextBatch:
    """Return sequences filled up with `pad_id` on the right, to the next multiple of eight tokens."""
    longest = max(map(len, ids), default=1)
    length = -(-longest // _LENGTHS_STEP) * _LENGTHS_STEP
    ids_BL = np.full((len(ids), length), pad_id, dtype=np.int64)
    lengths_B = np.array([len(row) for row in ids])
    mask_BL = np.arange(length) < lengths_B[:, None]
    if len(ids):
        ids_BL[mask_BL] = np.concatenate(ids)
    return TextBatch(torch.from_numpy(ids_BL), torch.from_numpy(mask_BL))


def order_by_length(ids: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the positions of the sequences, short ones first."""
    return np.argsort([len(row) for row in ids], kind="stable").astype(np.int64)


def split_parts(
    ids: Sequence[NDArray[np.int64]], read: Sequence[NDArray[np.int64]], pad_id: int, max_length: int
) -> list[TokenPart]:
    """Return the sequences, already ordered by length, in parts; `read` are the places of each that are read."""
    parts = []
    for start in range(0, len(ids), _ROWS_TOGETHER):
        rows, places = ids[start : start + _ROWS_TOGETHER], read[start : start + _ROWS_TOGETHER]
        text = pad_batch(rows, pad_id)
        # Padding must not go beyond the positions that the network has.
        text = TextBatch(text.ids_BL[:, :max_length], text.mask_BL[:, :max_length])
        row_T = np.repeat(np.arange(len(rows)), [len(found) for found in places])
        token_T = np.concatenate([np.zeros(0, dtype=np.int64), *places])
        parts.append(TokenPart(text, torch.from_numpy(row_T), torch.from_numpy(token_T)))
    return parts
