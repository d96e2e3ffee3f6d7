"""The baselines: each learns from a log and returns a scorer of keys by items."""

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import sparse

from recsys_batch.rules.baselines.log import Indices, Log, Values
from recsys_batch.rules.item_models import ease_weights
from recsys_batch.rules.sparse_rows import owners_of, strongest

# Less than what a minute makes of an act of last year.
_OF_ONE_SCORE = 1e-9

Scorer = Callable[[Log, Indices], Values]
"""(log of the keys to recommend for, keys B) -> scores of shape (B, I); -inf: not proposed."""


def popular(log: Log, days: float) -> Scorer:
    """Score by how many keys acted on the item within the last `days`."""
    scores_I = _proposed(log.popularity(days))
    return lambda _, keys_B: np.broadcast_to(scores_I, (len(keys_B), len(scores_I)))


def own_recency(log: Log, decay_days: float, popular_days: float = 30.0) -> Scorer:
    """Score the key's own items by the sum of exp(-age / decay_days) over its acts; behind them, what is popular.

    Of own items of one score, as those of one basket have it, the more popular comes first.
    """
    counts_I = log.popularity(popular_days)
    shares_I = counts_I / (counts_I.max(initial=0.0) + 1.0)
    rest_I = _proposed(shares_I)
    # Keys are asked for in blocks of one log.
    decayed = cache(lambda cases: cases.decayed(decay_days))

    def score(cases: Log, keys_B: Indices) -> Values:
        own_BI = decayed(cases)[keys_B].toarray()
        # Popularity stays below 1. What decayed to nothing is still the key's own.
        has_BI = cases.matrix[keys_B].toarray() > 0
        return np.where(has_BI, 1.0 + own_BI + _OF_ONE_SCORE * shares_I, rest_I)

    return score


def item_knn(log: Log, neighbors: int, shrinkage: float) -> Scorer:
    """Score by the summed cosine of the item's keys with those of the history's items (Sarwar et al., 2001).

    `shrinkage` is added to the norms' product; of each item its `neighbors` most similar ones are kept.
    """
    matrix = log.matrix.astype(np.float32)
    together = sparse.csr_array(matrix.T @ matrix)
    counts_I = together.diagonal()
    together.setdiag(0.0)
    together.eliminate_zeros()
    rows_N = owners_of(together.indptr)
    norms_N = np.sqrt(counts_I[rows_N] * counts_I[together.indices])
    together.data = (together.data / (norms_N + shrinkage)).astype(np.float32)
    similar = strongest(together, neighbors)

    def score(cases: Log, keys_B: Indices) -> Values:
        return _proposed(sparse.csr_array(cases.matrix[keys_B] @ similar).toarray().astype(np.float64))

    return score


def ease(log: Log, l2: float) -> Scorer:
    """Score by the closed-form linear model without self-similarity (Steck, 2019, "Embarrassingly Shallow
    Autoencoders"). Time grows with the cube of the number of items, memory with its square.
    """
    weights_II = ease_weights(log.matrix, l2)
    return lambda cases, keys_B: np.asarray(cases.matrix[keys_B] @ weights_II)


def factors(items_IF: Values, alpha: float, l2: float) -> Scorer:
    """Score by matrix factorization with the given item factors; those of a key are solved for from its history.

    Hu, Koren and Volinsky, 2008, with the regularization scaled by the number of acts as Spark's ALS does.
    """
    gram_FF = items_IF.T @ items_IF

    def score(cases: Log, keys_B: Indices) -> Values:
        history = cases.matrix[keys_B]
        solved_BF = np.zeros((len(keys_B), items_IF.shape[1]))
        for b in range(len(keys_B)):
            liked = history.indices[history.indptr[b] : history.indptr[b + 1]]
            if not len(liked):
                continue
            own_LF = items_IF[liked]
            left_FF = gram_FF + alpha * own_LF.T @ own_LF + l2 * len(liked) * np.eye(len(gram_FF))
            solved_BF[b] = np.linalg.solve(left_FF, (1.0 + alpha) * own_LF.sum(axis=0))
        return np.asarray(solved_BF @ items_IF.T)

    return score


def _proposed(scores: Values) -> Values:
    """Return the scores with -inf for 0, which says that nothing speaks for the item."""
    return np.where(scores > 0, scores, -np.inf)
