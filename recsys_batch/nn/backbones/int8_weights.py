"""Int8 weights for an OpenVINO graph: each fixed matrix becomes int8 numbers and a scale for every 64 of them.

OpenVINO multiplies such weights without unpacking them first (its pattern Constant, Convert, Multiply). Rounding is to
the nearest and symmetric, as in Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (2018), but by groups of a row, since with one scale a row the worst vector is seven
times as far off (1 - cosine, all-MiniLM-L6-v2). Embedding tables stay as they are: they are looked up, not multiplied.
Shapes: N rows of outputs, K inputs, G groups of a row, S numbers of a group.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GROUP_SIZES = (64, 32)
_LARGEST = 127


def quantize_rows(weight_NK: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 numbers (N, G, S) and scales (N, G, 1), whose products are within half a scale of the weight.

    S is 64, or 32, where that divides K, else K. A scale is the largest magnitude of its group / 127, 1 for a group of
    zeros. Raises ValueError for a weight that is not finite.
    """
    num_rows, width = weight_NK.shape
    if not np.isfinite(weight_NK).all():
        raise ValueError("the weight holds a value that is not finite")
    size = next((size for size in _GROUP_SIZES if width % size == 0), width)
    grouped_NGS = weight_NK.reshape(num_rows, width // size, size).astype(np.float32)
    scale_NG1 = np.abs(grouped_NGS).max(axis=2, keepdims=True) / np.float32(_LARGEST)
    scale_NG1[scale_NG1 == 0] = 1
    return np.rint(grouped_NGS / scale_NG1).astype(np.int8), scale_NG1


def compress_weights(graph: Any) -> int:
    """Replace, in an `openvino.Model`, the fixed weight of every product by its int8 form; return how many there were.

    Only matrices that a MatMul reads directly and transposed, as linear layers leave them, are replaced. Raises
    ValueError where there is none.
    """
    from openvino import opset13 as ops  # type: ignore[import-untyped,unused-ignore]

    num_replaced = 0
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "MatMul" or not node.get_attributes()["transpose_b"]:
            continue
        source = node.input_value(1).get_node()
        if source.get_type_name() != "Constant" or len(source.shape) != 2:
            continue
        numbers_NGS, scale_NG1 = quantize_rows(source.data)
        if numbers_NGS.shape[1] == 1:  # a plain matrix, which more of OpenVINO's kernels read
            numbers_NGS, scale_NG1 = numbers_NGS[:, 0], scale_NG1[:, 0]
        weight = ops.multiply(ops.convert(ops.constant(numbers_NGS), "f32"), ops.constant(scale_NG1))
        if numbers_NGS.ndim == 3:
            weight = ops.reshape(weight, ops.constant(np.array(source.shape, dtype=np.int64)), special_zero=False)
        node.input(1).replace_source_output(weight.output(0))
        num_replaced += 1
    if not num_replaced:
        raise ValueError("no product in it has a fixed weight that could become int8")
    return num_replaced
