"""The BERT and RoBERTa encoder without padding: linear layers see only real tokens, attention sees a padded view of
them.

Runs straight from a safetensors state dict, so a worker that only encodes imports no transformers. Inference only.
Shapes: T tokens of all texts back to back, B texts, L padded length, H hidden width, N heads, E head width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recsys_batch.nn.linear import FixedLinear

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


@dataclass(frozen=True)
class _Grid:
    """Where each packed token lies in the padded (B, L) view; None where every text fills its row."""

    token_of_slot_BL: Tensor
    slot_of_token_T: Tensor
    mask_B11L: Tensor


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
        self, config: Mapping[str, Any], tensors: Mapping[str, Tensor], device: str, dtype: torch.dtype
    ) -> None:
        """Build from `config.json` and the checkpoint's tensors.

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
        self._words_VH = self._get("embeddings.word_embeddings.weight")
        offset = 0 if config["model_type"] == "bert" else int(config.get("pad_token_id", 1)) + 1
        positions_PH = self._get("embeddings.position_embeddings.weight")[offset:]
        self._positions_PH = positions_PH + self._get("embeddings.token_type_embeddings.weight")[0]
        self.max_positions = int(self._positions_PH.shape[0])
        self._embedding_norm = self._norm("embeddings.LayerNorm")
        self._layers = [self._layer(f"encoder.layer.{i}") for i in range(int(config["num_hidden_layers"]))]
        del self._tensors

    def _get(self, name: str) -> Tensor:
        return self._tensors[name].to(self._device, self._dtype)

    def _norm(self, name: str) -> _Norm:
        return _Norm(self._get(f"{name}.weight"), self._get(f"{name}.bias"), self._epsilon)

    def _linear(self, *names: str, gelu: bool = False) -> FixedLinear:
        weight = torch.cat([self._get(f"{name}.weight") for name in names])
        return FixedLinear(weight, torch.cat([self._get(f"{name}.bias") for name in names]), gelu=gelu)

    def _layer(self, name: str) -> _Layer:
        attention = f"{name}.attention"
        return _Layer(
            query_key_value=self._linear(*(f"{attention}.self.{part}" for part in ("query", "key", "value"))),
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
        num_texts = lengths_B.shape[0]
        starts_B = lengths_B.cumsum(0) - lengths_B
        positions_T = torch.arange(ids_T.shape[0]) - torch.repeat_interleave(starts_B, lengths_B)
        grid = self._grid(lengths_B, starts_B, positions_T, padded_length)
        x_TH = functional.embedding(ids_T.to(self._device), self._words_VH)
        x_TH = self._embedding_norm(x_TH + self._positions_PH.index_select(0, positions_T.to(self._device)))
        for layer in self._layers:
            attended_TH = self._attend(layer.query_key_value(x_TH), grid, num_texts, padded_length)
            x_TH = layer.attention_norm(layer.attention_output(attended_TH).add_(x_TH))
            x_TH = layer.output_norm(layer.output(layer.intermediate(x_TH)).add_(x_TH))
        return x_TH

    def _grid(self, lengths_B: Tensor, starts_B: Tensor, positions_T: Tensor, padded_length: int) -> _Grid | None:
        if int(lengths_B.min()) == padded_length:
            return None
        columns_L = torch.arange(padded_length)
        mask_BL = columns_L < lengths_B[:, None]
        token_of_slot_BL = torch.where(mask_BL, starts_B[:, None] + columns_L, starts_B[:, None])
        rows_T = torch.repeat_interleave(torch.arange(lengths_B.shape[0]), lengths_B)
        return _Grid(
            token_of_slot_BL.flatten().to(self._device),
            (rows_T * padded_length + positions_T).to(self._device),
            mask_BL[:, None, None, :].to(self._device),
        )

    def _attend(self, qkv_T3H: Tensor, grid: _Grid | None, num_texts: int, padded_length: int) -> Tensor:
        if grid is not None:
            qkv_T3H = qkv_T3H.index_select(0, grid.token_of_slot_BL)
        heads_3BNLE = qkv_T3H.view(num_texts, padded_length, 3, self._num_heads, -1).permute(2, 0, 3, 1, 4)
        query_BNLE, key_BNLE, value_BNLE = heads_3BNLE.unbind(0)
        attended_BNLE = functional.scaled_dot_product_attention(
            query_BNLE, key_BNLE, value_BNLE, attn_mask=None if grid is None else grid.mask_B11L
        )
        attended_TH = attended_BNLE.transpose(1, 2).reshape(num_texts * padded_length, self.dim)
        return attended_TH if grid is None else attended_TH.index_select(0, grid.slot_of_token_T)
