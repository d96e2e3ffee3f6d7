"""From scores to lists, and how good lists are while the settings of a baseline are chosen."""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from recsys_batch.rules.baselines.log import Indices, Log, Mask, Values
from recsys_batch.rules.baselines.scorers import Scorer

# Scores at a time: 400 MB as float64.
_CELLS = 50_000_000


def top_lists(
    scorer: Scorer,
    cases: Log,
    keys_B: Indices,
    eligible_I: Mask,
    length: int,
    masked: sparse.csr_array | None = None,
) -> Indices:
    """Return the `length` best eligible items of each key, shape (B, length), best first; -1 where there are no more.

    Equal scores go by the number of the item. What `masked` (K, I) holds is left out.
    """
    block = max(_CELLS // max(cases.num_items, 1), 1)
    made = [np.empty((0, length), dtype=np.int64)]
    for part_B in (keys_B[start : start + block] for start in range(0, len(keys_B), block)):
        scores_BI = np.where(eligible_I, scorer(cases, part_B), -np.inf)
        if masked is not None:
            scores_BI[masked[part_B].nonzero()] = -np.inf
        made.append(np.array(list(_top(scores_BI, length)), dtype=np.int64).reshape(-1, length))
    return np.concatenate(made)


def _top(scores_BI: Values, length: int) -> Iterator[Indices]:
    for scores_I in scores_BI:
        list_N = np.full(length, -1, dtype=np.int64)
        place = max(len(scores_I) - length, 0)
        least = np.partition(scores_I, place)[place] if len(scores_I) else -np.inf
        near = np.flatnonzero((scores_I >= least) & (scores_I > -np.inf))
        best = near[np.argsort(-scores_I[near], kind="stable")][:length]
        list_N[: len(best)] = best
        yield list_N


def binary_ndcg(lists_BN: Indices, targets: sparse.csr_array) -> Values:
    """Return NDCG of each list of at most N items; `targets` (B, I) is 1 where an item is relevant, each row has one.

    The same as `ndcg@N` of docs/evaluation.md.
    """
    length = lists_BN.shape[1]
    gains_N = 1.0 / np.log2(np.arange(length) + 2.0)
    rows_B = np.arange(len(lists_BN))[:, None]
    held_BN = np.asarray(sparse.coo_array(targets[rows_B, np.maximum(lists_BN, 0)]).toarray())
    hits_BN = np.where(lists_BN >= 0, held_BN, 0.0)
    relevant_B = np.minimum(np.diff(targets.indptr), length)
    ideal_B = np.concatenate([[0.0], np.cumsum(gains_N)])[relevant_B]
    return np.asarray((hits_BN * gains_N).sum(axis=1) / ideal_B)
