"""Pruning: what goes is the smallest, what is left equals the network with zeros, and zeros stay zeros."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_batch.contracts.config.compress import Distillation, Pruning
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.backbones.bert import PackedBert
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.compress.pruning import PruningError, head_masks, holding, prune, prune_neurons, weight_masks
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.loop.run import train
from recsys_batch.training.tasks.distillation import DistillationTask, TaughtTexts

Networks = Callable[..., TextNetwork]
TEXTS = ["red shoes", "blue running shoes", "red mug", "good blue mug", "red cup", "华为手机", "手机壳", "bad cup"]


def weights_of_head(layer: torch.nn.Module, head: int, width: int = 8) -> np.ndarray:
    rows = slice(head * width, (head + 1) * width)
    attention = layer.attention
    parts = [getattr(attention.self, part).weight[rows] for part in ("query", "key", "value")]
    return np.concatenate([part.detach().numpy().ravel() for part in [*parts, attention.output.dense.weight[:, rows]]])


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_without_neurons_is_the_network_with_them_zeroed(tiny_network: Networks, norm: str) -> None:
    zeroed, pruned = tiny_network(), tiny_network()
    with torch.no_grad():
        for layer in zeroed.model.encoder.layer:
            made, read = layer.intermediate.dense, layer.output.dense
            # Not of equal size, so that the norms disagree with the weights' order in the file.
            made.weight.mul_(torch.linspace(2, 1, 32)[:, None])
        pruned.load_state_dict(zeroed.state_dict())
        for layer in zeroed.model.encoder.layer:
            made, read = layer.intermediate.dense, layer.output.dense
            weights = [np.concatenate([made.weight[i].numpy(), read.weight[:, i].numpy()]) for i in range(32)]
            norms = [np.abs(w).sum() if norm == "l1" else np.sqrt((w**2).sum()) for w in weights]
            weakest = np.argsort(norms)[:20]
            made.weight[weakest], made.bias[weakest], read.weight[:, weakest] = 0.0, 0.0, 0.0
    prune_neurons(pruned, 12, norm)
    assert pruned.model.encoder.layer[1].intermediate.dense.weight.shape == (12, 16)
    assert pruned.model.config.intermediate_size == 12
    assert torch.allclose(embed_texts(pruned, TEXTS), embed_texts(zeroed, TEXTS), atol=1e-6)


def test_the_weaker_head_goes_and_the_rest_is_untouched(tiny_network: Networks) -> None:
    network, before = tiny_network(), tiny_network()
    with holding(network, head_masks(network, 1)):
        pass
    for pruned, layer in zip(network.model.encoder.layer, before.model.encoder.layer, strict=True):
        norms = [np.linalg.norm(weights_of_head(layer, head)) for head in (0, 1)]
        gone = int(np.argmin(norms))
        assert not weights_of_head(pruned, gone).any()
        assert not pruned.attention.self.value.bias[gone * 8 : gone * 8 + 8].any()
        assert np.array_equal(weights_of_head(pruned, 1 - gone), weights_of_head(layer, 1 - gone))
        assert torch.equal(pruned.intermediate.dense.weight, layer.intermediate.dense.weight)


def test_single_weights_that_go_are_the_smallest_of_each_matrix(tiny_network: Networks) -> None:
    network, before = tiny_network(), tiny_network()
    with holding(network, weight_masks(network, 0.75)):
        pass
    for pruned, layer in zip(network.model.encoder.layer, before.model.encoder.layer, strict=True):
        for name, parameter in pruned.named_parameters():
            old = layer.get_parameter(name)
            if not name.endswith("weight") or "LayerNorm" in name:
                assert torch.equal(parameter, old)
                continue
            kept = parameter != 0
            assert int(kept.sum()) == old.numel() - round(0.75 * old.numel())
            assert old[kept].abs().min() >= old[~kept].abs().max()
            assert torch.equal(parameter[kept], old[kept])


def test_saved_and_run_by_the_encoder_smaller_products_give_the_same(tiny_network: Networks, tmp_path: Path) -> None:
    """Heads that were pruned leave the products, also where layers keep different ones or none."""
    network = tiny_network()
    masks = head_masks(network, 1)
    first = "encoder.layer.0.attention.self.value"
    masks[f"{first}.weight"][:] = False
    masks[f"{first}.bias"][:] = False
    with holding(network, masks):
        pass
    network.save(tmp_path / "pruned")
    encoder = Encoder.load(EncoderSettings(str(tmp_path / "pruned"), max_tokens=32), num_threads=1)
    assert isinstance(encoder._backbone, PackedBert)
    # Query, key and value of one head of 8; its output; 32 neurons.
    assert encoder._backbone.linear_shapes == [(16, 24), (8, 16), (16, 32), (32, 16)]
    assert np.abs(encoder.encode(TEXTS) - embed_texts(network, TEXTS).numpy()).max() < 1e-5
    lengths_B = torch.tensor([3, 5])
    a_token = 2 * (16 * 24 + 8 * 16 + 16 * 32 + 32 * 16) * 2
    assert encoder._backbone.count_flops(lengths_B) == a_token * 8 + 2 * 4 * 8 * (9 + 25)


def test_layers_that_keep_different_numbers_of_heads(tiny_network: Networks, tmp_path: Path) -> None:
    network = tiny_network()
    masks = {name: mask for name, mask in head_masks(network, 1).items() if ".layer.1." in name}
    with holding(network, masks):
        pass
    network.save(tmp_path / "pruned")
    for in_grid in (False, True):
        encoder = Encoder.load(EncoderSettings(str(tmp_path / "pruned"), max_tokens=32), num_threads=1)
        encoder._backbone.pads = in_grid
        assert np.abs(encoder.encode(TEXTS) - embed_texts(network, TEXTS).numpy()).max() < 1e-5


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_zeros_stay_zeros_through_training_and_the_rest_learns(
    tiny_network: Networks, tmp_path: Path, ema_decay: float
) -> None:
    vectors_NK = embed_texts(tiny_network(), TEXTS).numpy()
    network = tiny_network()
    masks = prune(network, Pruning(heads=1, neurons=16, share=0.5))
    settings = Loop(
        epochs=4,
        batch_size=4,
        ema_decay=ema_decay,
        optimizer=Optimizer(learning_rate=1e-2, weight_decay=0.1, layer_decay=1.0),
    )
    with holding(network, masks):
        before = {name: p.detach().clone() for name, p in network.model.named_parameters()}
        train([DistillationTask(network, TaughtTexts(TEXTS, vectors_NK), Distillation())], settings, tmp_path)
    after = dict(network.model.named_parameters())
    for name, mask in masks.items():
        assert not after[name][~mask].any(), name
        if name.endswith("weight"):
            moved = after[name][mask] != before[name][mask]
            assert moved.float().mean() > 0.9, name
    # Free again afterwards.
    network.embed(network.tokenize(TEXTS)).sum().backward()
    name = "encoder.layer.1.output.dense.weight"
    assert after[name].grad[~masks[name]].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 3}, "pruning.heads is 3, and a layer has 2"),
        ({"neurons": 33}, "pruning.neurons is 33, and a layer has 32"),
        ({"share": 1.0}, "must be at least 0 and below 1"),
    ],
)
def test_what_is_not_there_cannot_be_pruned(tiny_network: Networks, settings: dict[str, float], message: str) -> None:
    with pytest.raises(PruningError, match=message):
        prune(tiny_network(), Pruning(**settings))
