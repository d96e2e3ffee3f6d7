"""Losses of the task heads, each summed over its terms: the loop divides by their number over all of a step."""

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy_sum(
    logits_BC: Tensor, labels_B: Tensor, weights_C: Tensor | None = None, weights_B: Tensor | None = None
) -> Tensor:
    """Return the sum of -weight(label) * weight(example) * log softmax(logits)[label]; weights 1 where not given."""
    if weights_B is None:
        return functional.cross_entropy(logits_BC.float(), labels_B, weights_C, reduction="sum")
    terms_B = functional.cross_entropy(logits_BC.float(), labels_B, weights_C, reduction="none")
    return (terms_B * weights_B.float()).sum()


def squared_error_sum(predictions_B: Tensor, targets_B: Tensor) -> Tensor:
    """Return the sum of squared differences."""
    return functional.mse_loss(predictions_B.float(), targets_B.float(), reduction="sum")


def weighted_click_loss_sum(logits_B: Tensor, labels_B: Tensor, weights_B: Tensor) -> Tensor:
    """Return the sum of weight * binary cross-entropy of sigmoid(logits) with labels 0 and 1.

    With the inverse propensity of its position as the weight of a click, what is likely at a place that nobody looks at
    counts as much as at the top (Joachims, Swaminathan and Schnabel, 2017).
    """
    terms_B = functional.binary_cross_entropy_with_logits(logits_B.float(), labels_B.float(), reduction="none")
    return (terms_B * weights_B.float()).sum()


def symmetric_divergence_sum(first_BC: Tensor, second_BC: Tensor) -> Tensor:
    """Return the sum of (KL(p || q) + KL(q || p)) / 2 of the two softmax distributions in each row (R-Drop)."""
    log_p, log_q = first_BC.float().log_softmax(1), second_BC.float().log_softmax(1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum() / 2


def symmetric_click_divergence_sum(first_B: Tensor, second_B: Tensor) -> Tensor:
    """Return the same for probabilities sigmoid(logits) of two outcomes."""
    # log p - log q less log(1 - p) - log(1 - q) is the difference of the logits.
    first_B, second_B = first_B.float(), second_B.float()
    return ((first_B.sigmoid() - second_B.sigmoid()) * (first_B - second_B)).sum() / 2


def balanced_class_weights(labels_N: Tensor, num_classes: int) -> Tensor:
    """Return N / (classes that occur * count) a class (C), as scikit-learn's `balanced`; 0 for those that do not occur.

    Their mean over the examples is 1, so that the loss keeps its size.
    """
    counts_C = torch.bincount(labels_N, minlength=num_classes).double()
    weights_C = labels_N.numel() / ((counts_C > 0).sum() * counts_C)
    return torch.where(counts_C > 0, weights_C, 0.0).float()
