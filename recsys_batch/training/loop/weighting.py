"""How much the loss of each task counts: fixed factors, and uncertainties that are learned."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class TaskWeights(nn.Module):
    """Weighs the mean loss of a task: factor * (exp(-s) * loss + s / 2), or factor * loss where nothing is learned.

    s is the logarithm of the task's variance (Kendall, Gal and Cipolla, 2018, equation 10). Their form for a squared
    error, exp(-s) * loss / 2 + s / 2, differs from it by a constant only once s has moved by log 2.
    """

    def __init__(self, names: Sequence[str], factors: Mapping[str, float], learn: bool) -> None:
        """Begin with every s at 0. The factor of a task that `factors` does not name is 1."""
        super().__init__()
        self.names = list(names)
        self.factors = {name: factors.get(name, 1.0) for name in names}
        # One parameter a task, so that a step of one task leaves the optimizer's memory of the others alone.
        self.log_variances = nn.ParameterList([nn.Parameter(torch.zeros(())) for _ in names] if learn else [])

    def scale(self, name: str) -> Tensor | float:
        """Return what the task's mean loss is multiplied by."""
        if not len(self.log_variances):
            return self.factors[name]
        return self.factors[name] * torch.exp(-self._log_variance(name))

    def penalty(self, name: str) -> Tensor | None:
        """Return what keeps a task from getting rid of its loss, to be added; None where nothing is learned."""
        return self.factors[name] * self._log_variance(name) / 2 if len(self.log_variances) else None

    def named_log_variances(self) -> dict[str, nn.Parameter]:
        """Return the learned parameters by the name of their task."""
        return dict(zip(self.names, self.log_variances, strict=False))

    def _log_variance(self, name: str) -> Tensor:
        found: Tensor = self.log_variances[self.names.index(name)]
        return found
