"""An exponential moving average of the weights: smoother than the last step's, at no cost in training steps."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class MovingAverage:
    """Keeps an average of parameters; in float32, where they are."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        """Start at the parameters as they are."""
        self.decay = decay
        self.parameters = parameters
        self.average = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps (1, 2, ...): average = d * average + (1 - d) * weights.

        d = min(decay, (1 + step) / (10 + step)), so that the first weights are soon forgotten in a short run (as in
        TensorFlow's ExponentialMovingAverage).
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the parameters their average while the block runs, and their own values after it."""
        own = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._copy(self.average)
        try:
            yield
        finally:
            self._copy(own)

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
