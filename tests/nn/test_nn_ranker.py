"""The ranker against arithmetic by hand, and its history attention against a loop."""

import math

import numpy as np
import pytest
import torch

from recsys_batch.nn.scoring.ranker import CandidateLists, CandidateRanker, FeatureScale, HistoryAttention

NAN = float("nan")


def make_lists() -> CandidateLists:
    """Two users: three candidates, and two with a place filled up."""
    features_UCF = torch.tensor(
        [[[1.0, 10.0], [3.0, NAN], [5.0, 30.0]], [[1.0, 20.0], [5.0, 20.0], [99.0, 99.0]]],
    )
    return CandidateLists(features_UCF, torch.tensor([[True, True, True], [True, True, False]]))


def test_scale_ignores_what_is_missing_or_filled_up() -> None:
    scale = FeatureScale.of(("price", "constant"), make_lists())
    np.testing.assert_allclose(scale.mean_F, [(1 + 3 + 5 + 1 + 5) / 5, (10 + 30 + 20 + 20) / 4])
    np.testing.assert_allclose(scale.spread_F, [math.sqrt((4 + 0 + 4 + 4 + 4) / 5), math.sqrt((100 + 100) / 4)])
    lists = CandidateLists(torch.tensor([[[7.0, NAN], [7.0, NAN]]]), torch.ones(1, 2, dtype=torch.bool))
    np.testing.assert_array_equal(FeatureScale.of(("constant", "never"), lists).spread_F, [1.0, 1.0])
    with pytest.raises(ValueError, match="names"):
        FeatureScale.of(("one",), lists)


def test_scores_are_the_weighted_sum_of_standardized_features() -> None:
    lists = make_lists()
    ranker = CandidateRanker(FeatureScale(("a", "b"), np.array([3.0, 20.0]), np.array([2.0, 10.0])), hidden=0)
    np.testing.assert_array_equal(ranker.score(lists)[0].numpy(), [0, 0, 0])
    with torch.no_grad():
        ranker.linear.weight.copy_(torch.tensor([[0.5, -1.0, 7.0, 0.25]]))
    wanted = [
        [0.5 * -1 - 1.0 * -1, 0.5 * 0 + 0.25, 0.5 * 1 - 1.0 * 1],  # the second's b is missing: its flag counts
        [0.5 * -1 - 1.0 * 0, 0.5 * 1 - 1.0 * 0, -math.inf],
    ]
    np.testing.assert_allclose(ranker.score(lists).numpy(), wanted, atol=1e-6)
    assert ranker.weights() == {"a": 0.5, "b": -1.0}


def test_attention_is_the_softmax_weighted_cosine() -> None:
    attention = HistoryAttention(4)
    generator = torch.Generator().manual_seed(0)
    candidates_UCD = torch.randn(2, 3, 4, generator=generator)
    history_ULD = torch.randn(2, 5, 4, generator=generator)
    mask_UL = torch.tensor([[True, True, True, False, False], [False] * 5])
    found = attention(candidates_UCD, history_ULD, mask_UL).detach().numpy()
    for candidate in range(3):
        cosines = [
            float(np.dot(c, h) / np.linalg.norm(c) / np.linalg.norm(h))
            for c in [candidates_UCD[0, candidate].numpy()]
            for h in history_ULD[0, :3].numpy()
        ]
        shares = [math.exp(5 * cosine) for cosine in cosines]
        wanted = sum(share * cosine for share, cosine in zip(shares, cosines, strict=True)) / sum(shares)
        assert found[0, candidate] == pytest.approx(wanted, abs=1e-5)
    np.testing.assert_array_equal(found[1], [0, 0, 0])


def test_what_fills_a_list_up_changes_no_score() -> None:
    lists = make_lists()
    torch.manual_seed(0)
    ranker = CandidateRanker(FeatureScale.of(("a", "b"), lists), hidden=4)
    with torch.no_grad():
        for parameter in ranker.parameters():
            parameter.add_(torch.randn(parameter.shape))
    short = CandidateLists(lists.features_UCF[1:, :2], lists.mask_UC[1:, :2])
    torch.testing.assert_close(ranker.score(lists)[1, :2], ranker.score(short)[0])
    assert torch.isfinite(ranker(lists)).all()


def test_vectors_come_together_or_not_at_all() -> None:
    lists = make_lists()
    with pytest.raises(ValueError, match="together"):
        CandidateLists(lists.features_UCF, lists.mask_UC, candidates_UCD=torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="mask"):
        CandidateLists(lists.features_UCF, lists.mask_UC[:, :2])
    ranker = CandidateRanker(FeatureScale.of(("a", "b"), lists), vector_dim=4)
    with pytest.raises(ValueError, match="attends"):
        ranker.score(lists)
