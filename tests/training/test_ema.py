import pytest
import torch

from recsys_batch.training.loop.ema import MovingAverage


def test_average_follows_the_formula() -> None:
    weight = torch.tensor([1.0, 2.0])
    average = MovingAverage({"w": weight}, decay=0.5)
    weight.copy_(torch.tensor([3.0, 2.0]))
    average.update(1)  # d = min(0.5, 2 / 11)
    first = 2 / 11 * 1 + 9 / 11 * 3
    assert average.average["w"].tolist() == pytest.approx([first, 2.0])
    weight.copy_(torch.tensor([0.0, 4.0]))
    average.update(50)  # d = min(0.5, 51 / 60)
    assert average.average["w"].tolist() == pytest.approx([0.5 * first, 3.0])


def test_weights_come_back_bit_by_bit_even_after_an_error() -> None:
    weight = torch.nn.Parameter(torch.randn(50, generator=torch.Generator().manual_seed(0)))
    before = weight.detach().clone()
    average = MovingAverage({"w": weight}, decay=0.9)
    with torch.no_grad():
        weight.add_(0.123)
    own = weight.detach().clone()

    def fail() -> None:
        with average.in_place():
            assert torch.equal(weight, before)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert torch.equal(weight, own)
