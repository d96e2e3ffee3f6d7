"""The BERT and RoBERTa encoder without padding: linear layers see only real tokens; for attention see `nn.attention`.

Runs straight from a safetensors state dict, so a worker that only encodes imports no transformers. Inference only.
Heads and neurons that were pruned to zeros are left out of the products: an ordinary file, and less to compute.
Shapes: T tokens of all texts back to back, B texts, H hidden width, I width of the feed-forward layer, N heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recsys_batch.nn.backbones.attention import (
    Attend,
    attend_by_length,
    attend_in_grid,
    attend_varlen,
    has_varlen,
    to_device,
)
from recsys_batch.nn.backbones.flops import count_attention_flops
from recsys_batch.nn.backbones.linear import FixedLinear, round_rows

_PREFIXES = {"bert": "bert.", "roberta": "roberta.", "xlm-roberta": "roberta."}


@dataclass(frozen=True)
class _Norm:
    weight_H: Tensor
    bias_H: Tensor
    epsilon: float

    def __call__(self, x_TH: Tensor) -> Tensor:
        return functional.layer_norm(x_TH, self.weight_H.shape, self.weight_H, self.bias_H, self.epsilon)


@dataclass(frozen=True)
class _Layer:
    query_key_value: FixedLinear
    attention_output: FixedLinear
    attention_norm: _Norm
    intermediate: FixedLinear
    output: FixedLinear
    output_norm: _Norm
    num_heads: int

    @property
    def linears(self) -> tuple[FixedLinear, ...]:
        return self.query_key_value, self.attention_output, self.intermediate, self.output


def supports(config: Mapping[str, Any]) -> bool:
    """Tell whether a `config.json` describes a model that `PackedBert` computes exactly."""
    return (
        config.get("model_type") in _PREFIXES
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder", False)
        and not config.get("add_cross_attention", False)
    )


class PackedBert:
    """`hidden(ids, lengths, padded_length)` gives the last hidden state of every real token."""

    def __init__(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        device: str,
        dtype: torch.dtype,
        *,
        in_grid: bool | None = None,
    ) -> None:
        """Build from `config.json` and the checkpoint's tensors; `in_grid` forces padded attention or its opposite.

        Raises KeyError where a tensor is missing and ValueError where `supports(config)` is false.
        """
        if not supports(config):
            raise ValueError(f"model_type {config.get('model_type')!r} with these options is not supported")
        prefix = _PREFIXES[config["model_type"]]
        self._tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        self._device, self._dtype = device, dtype
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._num_heads = int(config["num_attention_heads"])
        self.dim = int(config["hidden_size"])
        self._head_width = self.dim // self._num_heads
        self._has_varlen = has_varlen(device, dtype, self._num_heads, self._head_width)
        self.pads = not self._has_varlen and (device != "cpu" if in_grid is None else in_grid)
        self._words_VH = self._get("embeddings.word_embeddings.weight")
        offset = 0 if config["model_type"] == "bert" else int(config.get("pad_token_id", 1)) + 1
        positions_PH = self._get("embeddings.position_embeddings.weight")[offset:]
        self._positions_PH = positions_PH + self._get("embeddings.token_type_embeddings.weight")[0]
        self.max_positions = int(self._positions_PH.shape[0])
        self._embedding_norm = self._norm("embeddings.LayerNorm")
        self._layers = [self._layer(f"encoder.layer.{i}") for i in range(int(config["num_hidden_layers"]))]
        self._head_counts = {layer.num_heads for layer in self._layers}
        self.linear_shapes = [linear.shape for layer in self._layers[:1] for linear in layer.linears]
        del self._tensors

    def count_flops(self, lengths_B: Tensor) -> float:
        """Return the floating-point operations that texts of these lengths need, without any padding."""
        a_token = sum(
            2.0 * rows * columns for layer in self._layers for rows, columns in (x.shape for x in layer.linears)
        )
        attended = sum(layer.num_heads for layer in self._layers) * self._head_width
        return a_token * float(lengths_B.sum()) + count_attention_flops(lengths_B, attended, 1)

    def _get(self, name: str) -> Tensor:
        return self._tensors[name].to(self._device, self._dtype)

    def _norm(self, name: str) -> _Norm:
        return _Norm(self._get(f"{name}.weight"), self._get(f"{name}.bias"), self._epsilon)

    def _linear(
        self, name: str, *, rows: Tensor | None = None, columns: Tensor | None = None, gelu: bool = False
    ) -> FixedLinear:
        weight, bias = self._get(f"{name}.weight"), self._get(f"{name}.bias")
        if rows is not None:
            weight, bias = weight[rows.to(self._device)], bias[rows.to(self._device)]
        if columns is not None:
            weight = weight[:, columns.to(self._device)]
        return FixedLinear(weight, bias, gelu=gelu)

    def _query_key_value(self, name: str, rows: Tensor) -> FixedLinear:
        """Join the three products of attention; the scale of the scores is put into the query's weights."""
        scales = {"query": self._head_width**-0.5, "key": 1.0, "value": 1.0}
        weight, bias = (
            torch.cat([self._tensors[f"{name}.{part}.{kind}"][rows].float() * scale for part, scale in scales.items()])
            for kind in ("weight", "bias")
        )
        return FixedLinear(weight.to(self._device, self._dtype), bias.to(self._device, self._dtype))

    def _live_units(self, made_by: str, read_by: str, unit_width: int) -> Tensor:
        """Return the units (heads, neurons) that add to the hidden state, ascending; the first where none does.

        A unit is dead where the rows that make its values are all 0, or the columns that read them.
        """
        rows = torch.cat([self._tensors[f"{made_by}.weight"], self._tensors[f"{made_by}.bias"][:, None]], dim=1)
        columns = self._tensors[f"{read_by}.weight"].T
        is_live = [(part != 0).any(1).view(-1, unit_width).any(1) for part in (rows, columns)]
        return (is_live[0] & is_live[1]).nonzero()[:, 0] if bool((is_live[0] & is_live[1]).any()) else torch.tensor([0])

    def _layer(self, name: str) -> _Layer:
        attention = f"{name}.attention"
        heads = self._live_units(f"{attention}.self.value", f"{attention}.output.dense", self._head_width)
        neurons = self._live_units(f"{name}.intermediate.dense", f"{name}.output.dense", 1)
        of_heads = (heads[:, None] * self._head_width + torch.arange(self._head_width)).flatten()
        return _Layer(
            query_key_value=self._query_key_value(f"{attention}.self", of_heads),
            attention_output=self._linear(f"{attention}.output.dense", columns=of_heads),
            attention_norm=self._norm(f"{attention}.output.LayerNorm"),
            intermediate=self._linear(f"{name}.intermediate.dense", rows=neurons, gelu=True),
            output=self._linear(f"{name}.output.dense", columns=neurons),
            output_norm=self._norm(f"{name}.output.LayerNorm"),
            num_heads=len(heads),
        )

    def hidden(self, ids_T: Tensor, lengths_B: Tensor, padded_length: int) -> Tensor:
        """Return the last hidden states, shape (T, H), of texts whose token ids lie back to back in `ids_T`.

        `lengths_B` sums to T and no length exceeds `padded_length`; both tensors are int64 on the CPU.
        """
        num_tokens = ids_T.shape[0]
        starts_B = lengths_B.cumsum(0) - lengths_B
        positions_T = torch.arange(num_tokens) - torch.repeat_interleave(starts_B, lengths_B)
        if self._device == "cpu" and not self.pads:
            more = round_rows(num_tokens) - num_tokens
            ids_T, positions_T = functional.pad(ids_T, (0, more)), functional.pad(positions_T, (0, more))
        attends = {count: self._attention(lengths_B, padded_length, count) for count in self._head_counts}
        x_TH = functional.embedding(to_device(ids_T, self._device), self._words_VH)
        x_TH = self._embedding_norm(x_TH + self._positions_PH.index_select(0, to_device(positions_T, self._device)))
        for layer in self._layers:
            attended_TH = attends[layer.num_heads](layer.query_key_value(x_TH))
            x_TH = layer.attention_norm(layer.attention_output.plus(attended_TH, x_TH))
            x_TH = layer.output_norm(layer.output.plus(layer.intermediate(x_TH), x_TH))
        return x_TH[:num_tokens]

    def _attention(self, lengths_B: Tensor, padded_length: int, num_heads: int) -> Attend:
        if self._has_varlen:
            return attend_varlen(lengths_B, padded_length, num_heads, self._device)
        if self.pads:
            return attend_in_grid(lengths_B, padded_length, num_heads, self._device)
        return attend_by_length(lengths_B, num_heads)
