"""The BERT and RoBERTa encoder without padding: linear layers see only real tokens; for attention see `nn.attention`.

Runs straight from a safetensors state dict, so a worker that only encodes imports no transformers. Inference only.
Shapes: T tokens of all texts back to back, B texts, H hidden width, I width of the feed-forward layer, N heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recsys_batch.nn.attention import (
    Attend,
    attend_by_length,
    attend_in_grid,
    attend_varlen,
    has_varlen,
    to_device,
)
from recsys_batch.nn.flops import count_attention_flops
from recsys_batch.nn.linear import FixedLinear, round_rows

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
        self._has_varlen = has_varlen(device, dtype, self._num_heads, self.dim // self._num_heads)
        self.pads = not self._has_varlen and (device != "cpu" if in_grid is None else in_grid)
        self._words_VH = self._get("embeddings.word_embeddings.weight")
        offset = 0 if config["model_type"] == "bert" else int(config.get("pad_token_id", 1)) + 1
        positions_PH = self._get("embeddings.position_embeddings.weight")[offset:]
        self._positions_PH = positions_PH + self._get("embeddings.token_type_embeddings.weight")[0]
        self.max_positions = int(self._positions_PH.shape[0])
        self._embedding_norm = self._norm("embeddings.LayerNorm")
        self._layers = [self._layer(f"encoder.layer.{i}") for i in range(int(config["num_hidden_layers"]))]
        self.linear_shapes = [
            layer_linear.shape
            for layer in self._layers[:1]
            for layer_linear in (layer.query_key_value, layer.attention_output, layer.intermediate, layer.output)
        ]
        del self._tensors

    def count_flops(self, lengths_B: Tensor) -> float:
        """Return the floating-point operations that texts of these lengths need, without any padding."""
        a_token = sum(2.0 * width_in * width_out for width_in, width_out in self.linear_shapes) * len(self._layers)
        return a_token * float(lengths_B.sum()) + count_attention_flops(lengths_B, self.dim, len(self._layers))

    def _get(self, name: str) -> Tensor:
        return self._tensors[name].to(self._device, self._dtype)

    def _norm(self, name: str) -> _Norm:
        return _Norm(self._get(f"{name}.weight"), self._get(f"{name}.bias"), self._epsilon)

    def _linear(self, name: str, *, gelu: bool = False) -> FixedLinear:
        return FixedLinear(self._get(f"{name}.weight"), self._get(f"{name}.bias"), gelu=gelu)

    def _query_key_value(self, name: str) -> FixedLinear:
        """Join the three products of attention; the scale of the scores is put into the query's weights."""
        scales = {"query": (self.dim // self._num_heads) ** -0.5, "key": 1.0, "value": 1.0}
        weight, bias = (
            torch.cat([self._tensors[f"{name}.{part}.{kind}"].float() * scale for part, scale in scales.items()])
            for kind in ("weight", "bias")
        )
        return FixedLinear(weight.to(self._device, self._dtype), bias.to(self._device, self._dtype))

    def _layer(self, name: str) -> _Layer:
        attention = f"{name}.attention"
        return _Layer(
            query_key_value=self._query_key_value(f"{attention}.self"),
            attention_output=self._linear(f"{attention}.output.dense"),
            attention_norm=self._norm(f"{attention}.output.LayerNorm"),
            intermediate=self._linear(f"{name}.intermediate.dense", gelu=True),
            output=self._linear(f"{name}.output.dense"),
            output_norm=self._norm(f"{name}.output.LayerNorm"),
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
        attend = self._attention(lengths_B, padded_length)
        x_TH = functional.embedding(to_device(ids_T, self._device), self._words_VH)
        x_TH = self._embedding_norm(x_TH + self._positions_PH.index_select(0, to_device(positions_T, self._device)))
        for layer in self._layers:
            attended_TH = attend(layer.query_key_value(x_TH))
            x_TH = layer.attention_norm(layer.attention_output.plus(attended_TH, x_TH))
            x_TH = layer.output_norm(layer.output.plus(layer.intermediate(x_TH), x_TH))
        return x_TH[:num_tokens]

    def _attention(self, lengths_B: Tensor, padded_length: int) -> Attend:
        if self._has_varlen:
            return attend_varlen(lengths_B, padded_length, self._num_heads, self._device)
        if self.pads:
            return attend_in_grid(lengths_B, padded_length, self._num_heads, self._device)
        return attend_by_length(lengths_B, self._num_heads)
