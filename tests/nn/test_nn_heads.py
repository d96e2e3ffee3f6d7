"""Heads and their losses: seeds, saving, and sums by hand and against scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.learning.heads import ClassHead, NumberHead, PairHead, load_head, save_head
from recsys_batch.nn.learning.losses import (
    balanced_class_weights,
    cross_entropy_sum,
    squared_error_sum,
    symmetric_click_divergence_sum,
    symmetric_divergence_sum,
    weighted_click_loss_sum,
)

HEADS = {
    "class": (lambda seed: ClassHead(4, 3, seed=seed), (torch.ones(2, 4),)),
    "number": (lambda seed: NumberHead(4, 3.5, 0.7, seed=seed), (torch.ones(2, 4),)),
    "pair": (lambda seed: PairHead(4, seed=seed), (torch.ones(2, 4), torch.arange(8.0).view(2, 4))),
    "pair of another origin": (lambda seed: PairHead(4, 3, seed=seed), (torch.ones(2, 3), torch.ones(2, 4))),
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_saved_head_is_the_same(tmp_path: Path, kind: str) -> None:
    make, inputs = HEADS[kind]
    head = make(1).eval()
    save_head(head, tmp_path / "model", {"classes": ["red", "红"]})
    loaded, notes = load_head(tmp_path / "model")
    assert notes == {"classes": ["red", "红"]}
    assert type(loaded) is type(head)
    assert torch.equal(loaded(*inputs), head(*inputs))
    assert not loaded.training
    assert all(torch.equal(a, b) for a, b in zip(loaded.buffers(), head.buffers(), strict=True))


def test_a_pair_of_one_encoder_starts_as_its_cosine() -> None:
    rng = np.random.default_rng(5)
    left_BH, right_BH = (rng.normal(size=(7, 4)).astype(np.float32) * 3 for _ in range(2))
    cosine_B = (left_BH * right_BH).sum(1) / np.linalg.norm(left_BH, axis=1) / np.linalg.norm(right_BH, axis=1)
    head = PairHead(4, seed=1).eval()
    logits_B = head(torch.from_numpy(left_BH), torch.from_numpy(right_BH)).detach().numpy()
    np.testing.assert_allclose(logits_B, PairHead.COSINE_SLOPE * cosine_B, rtol=1e-5)


@pytest.mark.parametrize("kind", sorted(HEADS.keys() - {"pair"}))
def test_weights_depend_on_the_seed_alone(kind: str) -> None:
    make, _ = HEADS[kind]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = torch.cat([p.flatten() for p in make(1).parameters()])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, torch.cat([p.flatten() for p in make(1).parameters()]))
    assert not torch.equal(first, torch.cat([p.flatten() for p in make(2).parameters()]))


def test_a_damaged_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="holds no head that loads"):
        load_head(tmp_path)
    save_head(ClassHead(4, 3), tmp_path, {})
    settings = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps(settings | {"num_classes": 4}))
    with pytest.raises(ModelFilesError, match="size mismatch"):
        load_head(tmp_path)
    (tmp_path / "head.json").write_text(json.dumps(settings))
    content = (tmp_path / "head.safetensors").read_bytes()
    (tmp_path / "head.safetensors").write_bytes(content[:-5])
    with pytest.raises(ModelFilesError, match="holds no head that loads"):
        load_head(tmp_path)


def test_number_head_restores_what_it_standardizes() -> None:
    head = NumberHead(4, mean=4.2, scale=0.8)
    assert head.standardize(torch.tensor([5.0])).item() == pytest.approx((5 - 4.2) / 0.8)
    assert head.restore(head.standardize(torch.tensor([1.0, 5.0], dtype=torch.float64))).tolist() == pytest.approx(
        [1, 5]
    )


def test_losses_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    labels = torch.tensor([0, 1])
    one = -np.log(1 / (1 + np.e))  # of class 1 in the second row
    assert cross_entropy_sum(logits, labels).item() == pytest.approx(np.log(2) + one)
    weighted = cross_entropy_sum(logits, labels, torch.tensor([2.0, 0.5]))
    assert weighted.item() == pytest.approx(2 * np.log(2) + 0.5 * one)
    assert squared_error_sum(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.5])).item() == 4 + 0.25
    clicks = weighted_click_loss_sum(torch.tensor([0.0, 1.0]), torch.tensor([1, 0]), torch.tensor([3.0, 1.0]))
    assert clicks.item() == pytest.approx(3 * np.log(2) - np.log(1 - 1 / (1 + np.exp(-1))))


def test_balanced_weights_as_scikit_learn() -> None:
    labels = np.array([0, 0, 0, 2, 3, 3])
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=labels)
    found = balanced_class_weights(torch.from_numpy(labels), 5)
    assert found[[0, 2, 3]].tolist() == pytest.approx(expected)
    assert found[[1, 4]].tolist() == [0, 0]
    assert found[labels].mean().item() == pytest.approx(1)
    assert balanced_class_weights(torch.zeros(0, dtype=torch.int64), 2).tolist() == [0, 0]


def test_divergences_are_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    p, q = first.log_softmax(1), second.log_softmax(1)
    both = [functional.kl_div(a, b, reduction="sum", log_target=True) for a, b in ((p, q), (q, p))]
    torch.testing.assert_close(symmetric_divergence_sum(first, second), (both[0] + both[1]) / 2)
    # A click is a choice between its logit and 0.
    one, two = first[:, 0], second[:, 0]
    pairs = [torch.stack([logits, torch.zeros(5)], 1) for logits in (one, two)]
    torch.testing.assert_close(symmetric_click_divergence_sum(one, two), symmetric_divergence_sum(*pairs))
