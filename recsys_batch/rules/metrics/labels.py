"""Metrics of predicted labels, numbers and probabilities, equal to scikit-learn's of the same names."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def accuracy(labels: IntArray, predicted: IntArray) -> float:
    """Share of equal labels; 0 without examples."""
    return float((labels == predicted).mean()) if labels.size else 0.0


def macro_f1(labels: IntArray, predicted: IntArray) -> float:
    """Mean F1 of the classes that occur among the labels or the predictions; 0 without examples."""
    classes = np.union1d(labels, predicted)
    hits = np.array([((labels == c) & (predicted == c)).sum() for c in classes], dtype=np.float64)
    sizes = np.array([(labels == c).sum() + (predicted == c).sum() for c in classes], dtype=np.float64)
    return float((2 * hits / sizes).mean()) if classes.size else 0.0


def rmse(targets: FloatArray, predicted: FloatArray) -> float:
    """Root of the mean squared error; 0 without examples."""
    return float(np.sqrt(np.mean((targets - predicted) ** 2))) if targets.size else 0.0


def log_loss(labels: IntArray, probabilities: FloatArray) -> float:
    """Mean -log of the probability given to what happened (labels 0 and 1); 0 without examples.

    Probabilities are kept one machine epsilon away from 0 and 1.
    """
    if not labels.size:
        return 0.0
    edge = np.finfo(np.float64).eps
    clipped = np.clip(probabilities, edge, 1 - edge)
    return float(-np.where(labels == 1, np.log(clipped), np.log1p(-clipped)).mean())


def auc(labels: IntArray, scores: FloatArray, weights: FloatArray | None = None) -> float:
    """Weighted chance that a random example of label 1 scores above one of label 0, ties counted half.

    The area under the ROC curve (Hanley and McNeil, 1982). 0.5 where a label does not occur: nothing to tell apart.
    """
    weights = np.ones(labels.size) if weights is None else weights
    _, level = np.unique(scores, return_inverse=True)
    ones = np.bincount(level, weights * (labels == 1))
    zeros = np.bincount(level, weights * (labels != 1))
    if not ones.sum() or not zeros.sum():
        return 0.5
    below = np.cumsum(zeros) - zeros
    return float((ones * (below + zeros / 2)).sum() / (ones.sum() * zeros.sum()))
