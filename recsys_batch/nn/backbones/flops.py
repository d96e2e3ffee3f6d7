"""How much arithmetic an encoder needs, and how much this machine can do: their ratio is the utilization.

Counts products only (two operations a multiply-add), of real tokens only; everything else is overhead by definition.
"""

import time
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from recsys_batch.nn.backbones.linear import FixedLinear
from recsys_batch.nn.threads import side_by_side

_ROWS = {"cpu": 2048, "cuda": 16384}
_SECONDS_A_SHAPE = 0.05


def count_attention_flops(lengths_B: Tensor, width: int, num_layers: int) -> float:
    """Return the operations of the two products of self-attention (scores, weighted values) over all layers."""
    return 4.0 * width * num_layers * float((lengths_B.double() ** 2).sum())


@cache
def measure_gemm_rate(dtype: torch.dtype, device: str, num_threads: int, shapes: tuple[tuple[int, int], ...]) -> float:
    """Return the floating-point operations a second of products with weights of `shapes` (in, out), as fast as we can.

    The model's own shapes, every core at its own product; measured once a process in about a fifth of a second.
    """
    rows = _ROWS["cpu" if device == "cpu" else "cuda"]
    flops, seconds = 0.0, 0.0
    for width_in, width_out in shapes:
        linear = FixedLinear(torch.randn(width_out, width_in).to(device, dtype))
        inputs = [torch.randn(rows, width_in).to(device, dtype) for _ in range(num_threads)]
        repeats = max(2, round(_SECONDS_A_SHAPE / max(1e-6, _time(linear, inputs, 2) / 2)))
        # Mind the best of three: another process on the same cores is not the machine's limit.
        seconds += min(_time(linear, inputs, repeats) for _ in range(3))
        flops += 2.0 * rows * width_in * width_out * repeats * num_threads
    return flops / seconds


def _time(linear: FixedLinear, inputs: Sequence[Tensor], repeats: int) -> float:
    def multiply(rows: Tensor) -> None:
        with torch.inference_mode():
            for _ in range(repeats):
                linear(rows)

    with side_by_side(len(inputs)) as start:
        started = time.perf_counter()
        start([lambda rows=rows: multiply(rows) for rows in inputs])()  # type: ignore[misc]
        if inputs[0].is_cuda:
            torch.cuda.synchronize(inputs[0].device)
        return time.perf_counter() - started
