"""Products of activations with one fixed weight matrix, through the fastest kernel that the device has.

On the CPU the weight is laid out once for oneDNN, which then runs float32 about a tenth and bfloat16 a few percent
faster than `torch.nn.functional.linear`, and can apply GELU while a tile is still in cache. Elsewhere this is `linear`.
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional


@functools.cache
def _packs(dtype: torch.dtype) -> bool:
    """Tell whether this build of torch can lay out and multiply a CPU weight of `dtype` through oneDNN."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    probe_NK = torch.ones(2, 2, dtype=dtype)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(probe_NK, None)
        torch.ops.mkldnn._linear_pointwise(probe_NK, packed, None, "gelu", [], "none")
    except (RuntimeError, AttributeError, TypeError):
        return False
    return True


def round_rows(num_rows: int) -> int:
    """Return `num_rows` rounded up to one of few row counts, at most a thirty-second more (and to a multiple of 8).

    oneDNN compiles a kernel for each number of rows, which takes longer than several products.
    """
    step = max(8, (1 << num_rows.bit_length()) // 64)
    return -(-num_rows // step) * step


class FixedLinear:
    """`x_TK -> x_TK @ weight_NK.T + bias_N`, then exact (erf) GELU where `gelu` is set; for inference only."""

    def __init__(self, weight_NK: Tensor, bias_N: Tensor | None = None, *, gelu: bool = False) -> None:
        """Keep the weight, laid out for the CPU where that is faster; the caller's tensor is not changed."""
        self._bias_N = bias_N
        self._gelu = gelu
        self.shape = (int(weight_NK.shape[1]), int(weight_NK.shape[0]))
        self._is_packed = weight_NK.device.type == "cpu" and weight_NK.numel() > 0 and _packs(weight_NK.dtype)
        self._weight = (
            torch.ops.mkldnn._reorder_linear_weight(weight_NK.contiguous(), None) if self._is_packed else weight_NK
        )

    def plus(self, x_TK: Tensor, rest_TN: Tensor) -> Tensor:
        """Multiply as `__call__` does and add `rest_TN`, of the result's shape, which may be overwritten with it."""
        if self._is_packed and not self._gelu:
            result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x_TK, rest_TN, self._weight, self._bias_N, "add")
            return result
        return self(x_TK).add_(rest_TN)

    def __call__(self, x_TK: Tensor) -> Tensor:
        """Multiply rows of shape (T, K) of the weight's dtype and device; the result has shape (T, N)."""
        if self._is_packed:
            activation, algorithm = ("gelu", "none") if self._gelu else ("none", "")
            result: Tensor = torch.ops.mkldnn._linear_pointwise(
                x_TK, self._weight, self._bias_N, activation, [], algorithm
            )
            return result
        result = functional.linear(x_TK, self._weight, self._bias_N)
        return functional.gelu(result) if self._gelu else result
