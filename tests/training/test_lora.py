"""Adapters: nothing changes at first, only they learn, merged they are an ordinary model with the same outputs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_batch.contracts.config.adapters import Adapter
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.columns import LabeledTexts
from recsys_batch.training.loop.run import train
from recsys_batch.training.shop.adapters import add_adapter, merge_adapter, trained_share
from recsys_batch.training.tasks.classification import ClassificationTask

Networks = Callable[..., TextNetwork]
TEXTS = ["red mug", "blue mug", "华为手机", "red shoes"]
KINDS = [Adapter(rank=2, alpha=8), Adapter(rank=2, layers="attention"), Adapter(kind="ia3")]


@pytest.mark.parametrize("settings", KINDS)
def test_only_the_adapter_learns_and_merging_keeps_the_outputs(
    tiny_network: Networks, tmp_path: Path, settings: Adapter
) -> None:
    network = tiny_network().eval()
    batch = network.tokenize(TEXTS)
    untouched = network.embed(batch)
    add_adapter(network, settings)
    frozen = {name: p.clone() for name, p in network.named_parameters() if not p.requires_grad}
    torch.testing.assert_close(network.eval().embed(batch), untouched)
    task = ClassificationTask(network, LabeledTexts(TEXTS, ["R", "B", "H", "R"]))
    loop = Loop(epochs=5, batch_size=4, optimizer=Optimizer(head_learning_rate=0.1))
    train([task], loop, tmp_path / "run")
    now = dict(network.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    learned = network.eval().embed(batch)
    assert float((learned - untouched).detach().abs().max()) > 1e-4
    merge_adapter(network)
    assert set(dict(network.named_parameters())) == set(dict(tiny_network().named_parameters()))
    torch.testing.assert_close(network.eval().embed(batch), learned, rtol=0, atol=1e-5)
    network.save(tmp_path / "model")
    # Read by what the night uses.
    encoder = Encoder.load(EncoderSettings(str(tmp_path / "model"), max_tokens=32), tmp_path / "model")
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), learned.detach().numpy(), atol=1e-4)


def test_shares_of_parameters_by_arithmetic(tiny_network: Networks) -> None:
    network = tiny_network()
    total = sum(p.numel() for p in network.parameters())
    assert trained_share(network) == 1.0
    add_adapter(network, Adapter(rank=2))
    # Two layers of four 16 x 16 matrices, one 16 x 32 and one 32 x 16; rank 2 on both sides.
    new = 2 * (4 * 2 * (16 + 16) + 2 * 2 * (16 + 32))
    assert trained_share(network) == pytest.approx(new / (total + new))
    merge_adapter(network)
    assert trained_share(network) == 1.0


def test_the_same_seed_gives_the_same_adapter_and_leaves_torchs_seed_alone(tiny_network: Networks) -> None:
    found = []
    for seed in (1, 1, 2):
        network = tiny_network()
        torch.manual_seed(5)
        add_adapter(network, Adapter(rank=2, seed=seed))
        found.append((torch.cat([p.flatten() for p in network.parameters() if p.requires_grad]), torch.rand(1)))
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[0][0], found[2][0])
    assert found[0][1] == found[2][1]


def test_a_second_adapter_is_refused(tiny_network: Networks) -> None:
    network = tiny_network()
    add_adapter(network, Adapter(rank=2))
    with pytest.raises(ConfigError, match="has an adapter already"):
        add_adapter(network, Adapter(kind="ia3"))
    merge_adapter(network)
    merge_adapter(network)  # nothing left to merge
    add_adapter(network, Adapter(kind="ia3"))
