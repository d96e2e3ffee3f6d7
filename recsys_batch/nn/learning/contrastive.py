"""Losses over scores of queries against a batch's documents: in-batch contrast, graded lists, a teacher's margins.

Shapes: Q queries, D distinct documents of the batch. Scores are cosines; masks are true where a document may count.
Every function returns the sum over queries, so that parts of a batch add up.
"""

import torch
from torch import Tensor
from torch.nn import functional

_NEVER = -1e4
"""Logit of a column that does not count: its share is 0, and unlike -inf it leaves no NaN in products and gradients."""


def info_nce(scores_QD: Tensor, positive_Q: Tensor, temperature: float, allowed_QD: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of each query's positive column among all allowed ones (van den Oord et al., 2018).

    `allowed_QD` is false for columns that must not count as negatives: other documents that are also right for the
    query. The positive always counts.
    """
    logits_QD = scores_QD / temperature
    if allowed_QD is not None:
        is_positive_QD = functional.one_hot(positive_Q, scores_QD.shape[1]).bool()
        logits_QD = logits_QD.masked_fill(~(allowed_QD | is_positive_QD), -torch.inf)
    return functional.cross_entropy(logits_QD, positive_Q, reduction="sum")


def listwise_softmax(
    scores_QD: Tensor, gains_QD: Tensor, temperature: float, allowed_QD: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy between the gains as a distribution and the softmax of the scores (Cao et al., 2007).

    Gains are not negative; those of columns that are not allowed do not count. A query without any gain has no loss:
    its documents have no order.
    """
    if allowed_QD is not None:
        gains_QD = gains_QD.masked_fill(~allowed_QD, 0.0)
    total_Q1 = gains_QD.sum(1, keepdim=True)
    log_shares_QD = _log_shares(scores_QD, temperature, allowed_QD)
    return -(gains_QD / total_Q1.clamp(min=torch.finfo(gains_QD.dtype).tiny) * log_shares_QD).sum()


def margin_mse(scores_QD: Tensor, teacher_QD: Tensor, positive_Q: Tensor, allowed_QD: Tensor | None = None) -> Tensor:
    """Return each query's mean squared difference between the student's and the teacher's margins of the positive over
    the allowed negatives (Hofstätter et al., 2020).
    """
    is_positive_QD = functional.one_hot(positive_Q, scores_QD.shape[1]).bool()
    counted_QD = ~is_positive_QD if allowed_QD is None else allowed_QD & ~is_positive_QD
    column_Q1 = positive_Q[:, None]
    margins_QD = scores_QD.gather(1, column_Q1) - scores_QD
    wanted_QD = teacher_QD.gather(1, column_Q1) - teacher_QD
    errors_QD = torch.where(counted_QD, (margins_QD - wanted_QD) ** 2, 0.0)
    return (errors_QD.sum(1) / counted_QD.sum(1).clamp(min=1)).sum()


def softmax_divergence(
    first_QD: Tensor, second_QD: Tensor, temperature: float, allowed_QD: Tensor | None = None
) -> Tensor:
    """Return the symmetric Kullback-Leibler divergence of two passes' softmaxes, halved as in R-Drop (Liang et al.,
    2021).
    """
    first_QD, second_QD = (_log_shares(scores, temperature, allowed_QD) for scores in (first_QD, second_QD))
    return ((first_QD.exp() - second_QD.exp()) * (first_QD - second_QD)).sum() / 2


def _log_shares(scores_QD: Tensor, temperature: float, allowed_QD: Tensor | None) -> Tensor:
    logits_QD = scores_QD / temperature
    if allowed_QD is not None:
        logits_QD = logits_QD.masked_fill(~allowed_QD, _NEVER)
    return functional.log_softmax(logits_QD, dim=1)
