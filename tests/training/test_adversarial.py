import pytest
import torch
from torch import nn

from recsys_batch.contracts.config.training import Adversarial
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.loop.adversarial import add_adversarial_gradients, find_word_embeddings
from tests.training.tiny import WordTask, line


class Curve:
    """The loss w . u / 10 + |w|^2 / 2 + v * w_0, whose gradients can be written down."""

    def __init__(self) -> None:
        self.w = nn.Parameter(torch.tensor([3.0, -4.0]))
        self.v = nn.Parameter(torch.tensor(2.0))
        self.points: list[torch.Tensor] = []

    def compute(self) -> None:
        self.points.append(self.w.detach().clone())
        (self.w.square().sum() / 2 + self.v * self.w[0]).backward()

    def gradient(self, w: torch.Tensor) -> torch.Tensor:
        return w + torch.tensor([2.0, 0.0])


def test_fgm_learns_at_the_point_one_step_up_the_gradient() -> None:
    curve = Curve()
    own = curve.w.detach().clone()
    curve.compute()
    add_adversarial_gradients([curve.w], [curve.w, curve.v], Adversarial(method="fgm", epsilon=0.5), curve.compute)
    clean = torch.tensor([5.0, -4.0])
    moved = own + 0.5 * clean / clean.norm()
    torch.testing.assert_close(curve.points[1], moved)
    torch.testing.assert_close(curve.w.grad, clean + curve.gradient(moved))
    torch.testing.assert_close(curve.v.grad, own[0] + moved[0])
    assert torch.equal(curve.w.detach(), own)


def test_pgd_follows_the_gradient_inside_the_ball() -> None:
    curve = Curve()
    own = curve.w.detach().clone()
    curve.compute()
    settings = Adversarial(method="pgd", steps=3, step_size=0.3, epsilon=0.5)
    add_adversarial_gradients([curve.w], [curve.w, curve.v], settings, curve.compute)
    at, points = own, []
    for _ in range(3):
        slope = curve.gradient(at)
        at = at + 0.3 * slope / slope.norm()
        if (at - own).norm() > 0.5:
            at = own + 0.5 * (at - own) / (at - own).norm()
        points.append(at)
    torch.testing.assert_close(torch.stack(curve.points[1:]), torch.stack(points))
    # Clean gradients and those at the last point; the points in between leave nothing.
    torch.testing.assert_close(curve.w.grad, curve.gradient(own) + curve.gradient(points[-1]))
    torch.testing.assert_close(curve.v.grad, own[0] + points[-1][0])
    assert (points[-1] - own).norm() == pytest.approx(0.5)
    assert torch.equal(curve.w.detach(), own)


def test_embeddings_come_back_when_the_pass_fails() -> None:
    curve = Curve()
    own = curve.w.detach().clone()
    curve.compute()

    def fail() -> None:
        assert not torch.equal(curve.w.detach(), own)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        add_adversarial_gradients([curve.w], [curve.w], Adversarial(method="fgm"), fail)
    assert torch.equal(curve.w.detach(), own)


def test_a_flat_loss_is_left_alone() -> None:
    curve = Curve()
    curve.w.grad = torch.zeros(2)
    add_adversarial_gradients([curve.w], [curve.w], Adversarial(method="fgm"), curve.compute)
    assert torch.equal(curve.points[0], curve.w.detach())


def test_word_embeddings_are_found_by_name() -> None:
    module = WordTask().module
    assert find_word_embeddings(module) == [module["encoder"].embeddings.word_embeddings.weight]
    module["encoder"].requires_grad_(False)
    for network in (module, line()):
        with pytest.raises(ConfigError, match="trains none"):
            find_word_embeddings(network)
