"""A linear ranking model over a query's candidates, fitted on graded lists; its strength of regularization is chosen by
cross-validation inside the training queries.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.learning.chorus_data import Shop, fuse_ranks, measure
from recsys_batch.nn.learning.contrastive import listwise_softmax

PENALTIES = (0.01, 0.1, 0.3, 1.0, 3.0)
_SHARPNESS = 10.0
_CANDIDATES = 100


def feedback(queries_QD: np.ndarray, documents_ID: np.ndarray, first_QI: np.ndarray, num_first: int) -> np.ndarray:
    """Return cosines (Q, I) of queries moved halfway to the mean of their `num_first` first products of a ranking
    (Rocchio's relevance feedback, without judgments).
    """
    first_QK = np.argsort(-first_QI, axis=1, kind="stable")[:, :num_first]
    moved_QD = queries_QD + documents_ID[first_QK].mean(axis=1)
    return (moved_QD / np.linalg.norm(moved_QD, axis=1, keepdims=True)) @ documents_ID.T


def vector_features(queries_QD: np.ndarray, documents_ID: np.ndarray, bm25_QI: np.ndarray) -> dict[str, np.ndarray]:
    """Return what an encoder's vectors say of every query and product (Q, I), by name."""
    cosine_QI = queries_QD @ documents_ID.T
    return {
        "cosine": cosine_QI,
        "cosine_feedback": feedback(queries_QD, documents_ID, cosine_QI, 3),
        "cosine_feedback_fused": feedback(queries_QD, documents_ID, fuse_ranks(bm25_QI, cosine_QI), 10),
    }


def stack_features(features: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return (Q, I, F): BM25 as a share of the query's best, cosines as thirds of standard deviations within the query,
    shares as they are.
    """
    columns = []
    for name, values_QI in features.items():
        if name.startswith("bm25"):
            columns.append(values_QI / np.maximum(values_QI.max(axis=1, keepdims=True), 1e-6))
        elif name.startswith("cosine"):
            centered_QI = values_QI - values_QI.mean(axis=1, keepdims=True)
            columns.append(centered_QI / np.maximum(values_QI.std(axis=1, keepdims=True), 1e-6) / 3)
        else:
            columns.append(values_QI)
    return np.stack(columns, axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Lists:
    """For each query its judged products with gains, and the nearest unjudged ones, by index."""

    judged: list[np.ndarray]
    gains: list[np.ndarray]
    unjudged: list[np.ndarray]

    @classmethod
    def make(cls, shop: Shop, *rankings: np.ndarray) -> "Lists":
        """Take the first products of each ranking (Q, I) that nobody judged."""
        judged = [np.array(sorted(found)) for found in shop.grades]
        gains = [np.array([2.0 ** found[row] - 1 for row in sorted(found)]) for found in shop.grades]
        unjudged = []
        for query, known in enumerate(judged):
            nearest = {
                int(row) for scores_QI in rankings for row in np.argsort(-scores_QI[query], kind="stable")[:_CANDIDATES]
            }
            unjudged.append(np.array(sorted(nearest - set(known.tolist())), dtype=np.int64))
        return cls(judged, gains, unjudged)


def fit_weights(
    features_QIF: np.ndarray, lists: Lists, rows: np.ndarray, penalty: float, *, judged_alone: bool
) -> np.ndarray:
    """Return weights (F) that minimize the listwise softmax loss of the queries `rows`, plus `penalty` times their
    squares; over the judged products alone, or with the nearest unjudged ones as not relevant. Convex: no seed.
    """
    values_QCF, shares_QC, mask_QC = _gather(features_QIF, lists, rows, judged_alone)
    weights_F = torch.zeros(features_QIF.shape[-1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights_F], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores_QC = _SHARPNESS * (values_QCF @ weights_F)
        total = listwise_softmax(scores_QC, shares_QC, 1.0, mask_QC) / len(shares_QC)
        total = total + penalty * weights_F.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weights_F.detach().numpy()


def _gather(
    features_QIF: np.ndarray, lists: Lists, rows: np.ndarray, judged_alone: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return features (Q, C, F), gains (Q, C) and which cells hold a product, for queries with a relevant product."""
    told = [int(row) for row in rows if lists.gains[row].any()]
    listed = [
        lists.judged[row] if judged_alone else np.concatenate([lists.judged[row], lists.unjudged[row]]) for row in told
    ]
    longest = max(map(len, listed))
    values_QCF = torch.zeros(len(told), longest, features_QIF.shape[-1], dtype=torch.float64)
    gains_QC = torch.zeros(len(told), longest, dtype=torch.float64)
    mask_QC = torch.zeros(len(told), longest, dtype=torch.bool)
    for place, (row, products) in enumerate(zip(told, listed, strict=True)):
        values_QCF[place, : len(products)] = torch.from_numpy(features_QIF[row, products])
        gains_QC[place, : len(lists.gains[row])] = torch.from_numpy(lists.gains[row])
        mask_QC[place, : len(products)] = True
    return values_QCF, gains_QC, mask_QC


def choose_penalty(
    shop: Shop, features_QIF: np.ndarray, lists: Lists, rows: np.ndarray, *, judged_alone: bool
) -> float:
    """Return the penalty with the best mean NDCG@10 when each fold among `rows` is ranked by the others' weights."""
    means = []
    for penalty in PENALTIES:
        scores_QI = np.zeros(features_QIF.shape[:2], dtype=np.float32)
        for fold in np.unique(shop.fold_Q[rows]):
            inside, outside = rows[shop.fold_Q[rows] == fold], rows[shop.fold_Q[rows] != fold]
            weights = fit_weights(features_QIF, lists, outside, penalty, judged_alone=judged_alone)
            scores_QI[inside] = features_QIF[inside] @ weights
        means.append(float(np.nanmean(measure(shop, scores_QI, judged_alone=judged_alone, rows=rows))))
    return PENALTIES[int(np.argmax(means))]
