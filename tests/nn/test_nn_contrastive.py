"""Losses of retrieval against their formulas written out, and their limits."""

import math

import pytest
import torch
from torch.nn import functional

from recsys_batch.nn.learning.contrastive import info_nce, listwise_softmax, margin_mse, softmax_divergence


def scores(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, columns, generator=generator, dtype=torch.float64) * 2 - 1).requires_grad_()


def test_info_nce_by_hand() -> None:
    found = info_nce(torch.tensor([[0.5, 0.1, -0.2]]), torch.tensor([1]), 0.1)
    assert found.item() == pytest.approx(math.log(math.exp(5) + math.exp(1) + math.exp(-2)) - 1, rel=1e-5)


def test_a_column_that_is_also_right_does_not_count() -> None:
    scores_QD = scores(2, 4)
    allowed_QD = torch.tensor([[False, True, False, True], [True, True, True, True]])
    found = info_nce(scores_QD, torch.tensor([0, 3]), 0.05, allowed_QD)
    expected = functional.cross_entropy(scores_QD[:1, [0, 1, 3]] / 0.05, torch.tensor([0]))
    expected = expected + functional.cross_entropy(scores_QD[1:] / 0.05, torch.tensor([3]))
    assert found.item() == pytest.approx(expected.item())
    (gradient_QD,) = torch.autograd.grad(found, scores_QD)
    assert gradient_QD[0, 2] == 0
    assert gradient_QD[0, 1] > 0 > gradient_QD[0, 0]


def test_one_right_document_makes_a_list_info_nce() -> None:
    scores_QD, positive_Q = scores(5, 7), torch.tensor([0, 3, 6, 2, 2])
    gains_QD = functional.one_hot(positive_Q, 7) * 3.0
    assert listwise_softmax(scores_QD, gains_QD, 0.1).item() == pytest.approx(
        info_nce(scores_QD, positive_Q, 0.1).item()
    )


def test_listwise_is_least_where_shares_are_the_gains() -> None:
    gains_QD = torch.tensor([[7.0, 3.0, 1.0, 0.5]], dtype=torch.float64)
    best_QD = (gains_QD.log() * 0.2).requires_grad_()
    loss = listwise_softmax(best_QD, gains_QD, 0.2)
    (gradient_QD,) = torch.autograd.grad(loss, best_QD)
    assert gradient_QD.abs().max() < 1e-12
    share_QD = gains_QD / gains_QD.sum()
    assert loss.item() == pytest.approx(float(-(share_QD * share_QD.log()).sum()))


def test_a_list_ignores_masked_columns_and_queries_without_gain() -> None:
    scores_QD = scores(3, 4)
    gains_QD = torch.tensor([[7.0, 0, 1, 7], [0, 0, 0, 0], [0, 7, 0, 0]], dtype=torch.float64)
    allowed_QD = torch.tensor([[True, True, True, False], [True] * 4, [False] * 4])
    found = listwise_softmax(scores_QD, gains_QD, 0.1, allowed_QD)
    log_shares = torch.log_softmax(scores_QD[0, :3] / 0.1, 0)
    assert found.item() == pytest.approx(float(-(7 / 8 * log_shares[0] + 1 / 8 * log_shares[2])))
    (gradient_QD,) = torch.autograd.grad(found, scores_QD)
    assert torch.isfinite(gradient_QD).all()
    assert gradient_QD[0, 3] == 0
    assert not gradient_QD[1:].any()


def test_margins_by_hand() -> None:
    scores_QD = torch.tensor([[0.9, 0.4, 0.1]])
    teacher_QD = torch.tensor([[10.0, 9.0, 2.0]])
    positive_Q = torch.tensor([0])
    expected = ((0.5 - 1) ** 2 + (0.8 - 8) ** 2) / 2
    assert float(margin_mse(scores_QD, teacher_QD, positive_Q)) == pytest.approx(expected)
    allowed_QD = torch.tensor([[True, True, False]])
    assert float(margin_mse(scores_QD, teacher_QD, positive_Q, allowed_QD)) == pytest.approx(0.25)
    assert float(margin_mse(teacher_QD, teacher_QD + 5, positive_Q)) == 0


def test_divergence_is_symmetric_kl() -> None:
    first_QD, second_QD = scores(3, 5, 1).detach(), scores(3, 5, 2).detach()
    p, q = (torch.log_softmax(values / 0.3, 1) for values in (first_QD, second_QD))
    expected = (
        functional.kl_div(q, p, reduction="sum", log_target=True)
        + functional.kl_div(p, q, reduction="sum", log_target=True)
    ) / 2
    assert float(softmax_divergence(first_QD, second_QD, 0.3)) == pytest.approx(float(expected))
    assert float(softmax_divergence(first_QD, first_QD, 0.3)) == 0
    allowed_QD = torch.tensor([[True, True, True, False, False]] * 3)
    assert float(softmax_divergence(first_QD, second_QD, 0.3, allowed_QD)) == pytest.approx(
        float(softmax_divergence(first_QD[:, :3], second_QD[:, :3], 0.3))
    )
