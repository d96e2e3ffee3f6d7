"""How much of the machine a training run used: the arithmetic of its linear layers against the best this device does.

Counts what the layers compute, padding included, and nothing else; attention products and norms are overhead.
"""

import os
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from recsys_batch.nn.backbones.flops import measure_gemm_rate
from recsys_batch.nn.files.dtypes import DTYPES

_LEAST_SECONDS = 10.0
_SHAPES = 4


class LinearWork:
    """Counts the operations of linear layers in training mode while the block runs."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        """Watch the linear layers of these modules, shared ones once."""
        found = {id(layer): layer for module in modules for layer in module.modules() if _is_linear(layer)}
        self._layers = list(found.values())
        self._rows: Counter[tuple[int, int]] = Counter()
        self.flops = 0.0

    def __enter__(self) -> "LinearWork":
        """Begin to count."""
        self._hooks = [layer.register_forward_hook(self._count) for layer in self._layers]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop counting."""
        for hook in self._hooks:
            hook.remove()

    def utilization(self, device: torch.device, precision: str, seconds: float) -> float | None:
        """Return the share of the device's rate that `seconds` of steps reached; None where they are too few (10)."""
        if seconds < _LEAST_SECONDS or not self.flops:
            return None
        shapes = tuple(shape for shape, _ in self._rows.most_common(_SHAPES))
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        best = measure_gemm_rate(DTYPES[precision], str(device), min(threads, os.cpu_count() or 1), shapes)
        return self.flops / seconds / best

    def _count(self, layer: nn.Module, inputs: tuple[Any, ...], _output: Tensor) -> None:
        weight: Any = layer.weight
        if not torch.is_grad_enabled() or not layer.training:
            return
        width_in = inputs[0].shape[-1]
        rows = inputs[0].numel() // max(1, width_in)
        self._rows[width_in, weight.numel() // max(1, width_in)] += rows
        # Forward, the gradient of the inputs, and that of the weights where they train.
        self.flops += 2.0 * rows * weight.numel() * (3 if weight.requires_grad else 2)


def _is_linear(layer: nn.Module) -> bool:
    # GPT-2 calls its linear layers Conv1D.
    return isinstance(layer, nn.Linear) or type(layer).__name__ == "Conv1D"
