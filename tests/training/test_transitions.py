"""Counted transitions against a count by hand, their factorization against NumPy's decomposition, and the memory."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from recsys_batch.nn.scoring.sequence_model import Histories, ItemTable, SequenceModel, SequenceShape
from recsys_batch.training.transitions import TransitionSettings, count_transitions, factorize_transitions


def test_pairs_count_by_distance_and_direction() -> None:
    settings = TransitionSettings(decay=0.5, backward=0.25, shrinkage=2.0)
    strengths_II = count_transitions([np.array([0, 1, 2]), np.array([0, 1]), np.array([3])], 5, settings)
    wanted_II = np.zeros((5, 5))
    wanted_II[0, 1] = (1 + 1) / math.sqrt(2 + 2)
    wanted_II[0, 2] = 0.5 / math.sqrt(2 + 2)
    wanted_II[1, 0] = (0.25 + 0.25) / math.sqrt(2 + 2)
    wanted_II[1, 2] = 1 / math.sqrt(2 + 2)
    wanted_II[2, 0] = 0.5 * 0.25 / math.sqrt(1 + 2)
    wanted_II[2, 1] = 0.25 / math.sqrt(1 + 2)
    np.testing.assert_allclose(strengths_II, wanted_II, rtol=1e-6)


def test_an_item_never_follows_itself() -> None:
    strengths_II = count_transitions([np.array([0, 0, 1, 0])], 2, TransitionSettings(1.0, 1.0, 1.0))
    # Three occurrences of item 0, each beside the one of item 1, in either direction.
    np.testing.assert_allclose(strengths_II, [[0, 3 / math.sqrt(4)], [3 / math.sqrt(2), 0]], rtol=1e-6)


def test_no_sequence_is_no_transition() -> None:
    assert not count_transitions([np.array([], dtype=np.int64)], 3, TransitionSettings(shrinkage=0.0)).any()


def test_codes_are_the_best_of_their_rank() -> None:
    rng = np.random.default_rng(0)
    strengths_II = (rng.random((30, 4)) @ rng.random((4, 30)) + 0.01 * rng.random((30, 30))).astype(np.float32)
    before_IM, after_IM = factorize_transitions(strengths_II, 4)
    left, values, right = np.linalg.svd(strengths_II)
    np.testing.assert_allclose(
        (before_IM @ after_IM.T).numpy(), left[:, :4] @ np.diag(values[:4]) @ right[:4], atol=1e-4
    )


def test_more_columns_than_items_change_nothing() -> None:
    strengths_II = np.array([[0.0, 2.0], [1.0, 0.0]], dtype=np.float32)
    before_IM, after_IM = factorize_transitions(strengths_II, 5)
    assert before_IM.shape == after_IM.shape == (2, 5)
    np.testing.assert_allclose((before_IM @ after_IM.T).numpy(), strengths_II, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"decay": 1.5}, {"backward": -0.1}, {"shrinkage": -1.0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TransitionSettings(**wrong)


def test_a_memory_started_from_them_scores_what_followed() -> None:
    strengths_II = np.array([[0, 3, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=np.float32)
    model = SequenceModel(SequenceShape(3, 4, dim=4, memory_dim=4, popularity=0.0)).eval()
    model.start_memory(*factorize_transitions(strengths_II, 4))
    content_IC = functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    table = ItemTable(content_IC, torch.tensor([0, 1, 2, 3, -1]))
    histories = Histories(torch.tensor([[0, 4, 1]]), torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3))
    with torch.no_grad():
        scores_I = (model.vectors(histories, table) @ model.item_vectors(table).T)[0]
        content_C = content_IC[1] + content_IC[4] / 2 + content_IC[0] / 4
        # Item 0 lies two places back, item 4 has no code, item 1 is the newest.
        remembered_I = torch.tensor([0.0, 3 / 4, 2.0, 0.0, 0.0])
    torch.testing.assert_close(scores_I, 15 * content_IC @ content_C + remembered_I, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="in_RM"):
        model.start_memory(torch.zeros(4, 3), torch.zeros(4, 4))
