"""The best sequence of BIO tags among those that may be: an `I-` only goes on with what stands before it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys_batch.rules.metrics.spans import split_tag


def allowed_moves(names: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which tags may begin a text (C), and which may follow which (C from, C to).

    `I-type` follows `B-type` and `I-type` alone; everything else goes anywhere. Raises ValueError for what is no BIO
    tag.
    """
    parts = [split_tag(name) for name in names]
    start_C = np.array([prefix != "I" for prefix, _ in parts])
    follows_CC = np.array(
        [
            [prefix != "I" or (before in ("B", "I") and kind == other) for prefix, kind in parts]
            for before, other in parts
        ]
    ).reshape(len(parts), len(parts))
    return start_C, follows_CC


def best_path(
    emissions_WC: NDArray[np.floating], start_C: NDArray[np.floating], transitions_CC: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Return the tags (W) with the highest sum of scores (Viterbi, 1967); -inf forbids. Of equal paths the one whose
    tags come first, the last word deciding first.
    """
    num_words = len(emissions_WC)
    if not num_words:
        return np.zeros(0, dtype=np.int64)
    came_from_WC = np.zeros(emissions_WC.shape, dtype=np.int64)
    score_C = np.asarray(start_C, dtype=np.float64) + emissions_WC[0]
    for word in range(1, num_words):
        scores_CC = score_C[:, None] + transitions_CC
        came_from_WC[word] = scores_CC.argmax(0)
        score_C = scores_CC.max(0) + emissions_WC[word]
    path_W = np.zeros(num_words, dtype=np.int64)
    path_W[-1] = int(score_C.argmax())
    for word in range(num_words - 1, 0, -1):
        path_W[word - 1] = came_from_WC[word, path_W[word]]
    return path_W
