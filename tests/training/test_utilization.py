import torch
from torch import nn
from transformers import GPT2Config, GPT2Model

from recsys_batch.training.loop.utilization import LinearWork


def test_work_is_counted_by_hand() -> None:
    shared = nn.Linear(5, 7)
    frozen = nn.Linear(7, 2).requires_grad_(False)
    network = nn.Sequential(shared, frozen)
    with LinearWork([network, shared]) as work:
        network(torch.zeros(3, 4, 5))
        network.eval()(torch.zeros(100, 5))  # evaluation is no training
        network.train()
        with torch.no_grad():
            network(torch.zeros(100, 5))
    network(torch.zeros(100, 5))
    expected = 12 * 2 * (5 * 7 * 3 + 7 * 2 * 2)
    # At one operation a second the utilization is the number of operations over the rate: compare two lengths.
    rates = [work.utilization(torch.device("cpu"), "float32", seconds) for seconds in (20.0, 40.0)]
    assert rates[0] == 2 * rates[1] > 0
    assert work.flops == expected
    assert work.utilization(torch.device("cpu"), "float32", 9.0) is None


def test_gpt2_calls_its_linear_layers_otherwise() -> None:
    model = GPT2Model(GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=2, n_positions=8))
    with LinearWork([model.train()]) as work:
        model(input_ids=torch.zeros((2, 3), dtype=torch.int64))
    # Query, key and value; output; two layers of four times the width.
    assert work.flops == 3 * 2 * 6 * (8 * 24 + 8 * 8 + 2 * 8 * 32)


def test_a_network_without_linear_layers_has_no_utilization() -> None:
    with LinearWork([nn.Embedding(3, 2)]) as work:
        pass
    assert work.utilization(torch.device("cpu"), "float32", 100.0) is None
