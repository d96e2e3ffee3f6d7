"""How much each head and each feed-forward neuron of a BERT-like layer weighs: the norm of all its weights.

Magnitude as a sign of importance: Han et al. (2015), for whole units Li et al. (2017). Weights only, no data.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

NormName = Literal["l1", "l2"]
_ATTENTION_INPUTS = ("attention.self.query", "attention.self.key", "attention.self.value")
_ORDERS: dict[NormName, int] = {"l1": 1, "l2": 2}


def head_norms(layer: Mapping[str, Tensor], num_heads: int, norm: NormName = "l2") -> Tensor:
    """Return the norm (N) of each head's query, key, value and output weights; `layer`: name below the layer ->
    tensor.
    """
    rows = [layer[f"{name}.weight"].float().reshape(num_heads, -1) for name in _ATTENTION_INPUTS]
    columns = layer["attention.output.dense.weight"].float().T.reshape(num_heads, -1)
    norms_N: Tensor = torch.linalg.vector_norm(torch.cat([*rows, columns], dim=1), ord=_ORDERS[norm], dim=1)
    return norms_N


def neuron_norms(layer: Mapping[str, Tensor], norm: NormName = "l2") -> Tensor:
    """Return the norm (I) of each feed-forward neuron's input and output weights."""
    weights_IX = [layer["intermediate.dense.weight"].float(), layer["output.dense.weight"].float().T]
    norms_I: Tensor = torch.linalg.vector_norm(torch.cat(weights_IX, dim=1), ord=_ORDERS[norm], dim=1)
    return norms_I


def strongest(norms_N: Tensor, count: int) -> Tensor:
    """Return the positions of the `count` greatest norms, ascending; of equal ones the first."""
    return torch.argsort(norms_N, descending=True, stable=True)[:count].sort().values
