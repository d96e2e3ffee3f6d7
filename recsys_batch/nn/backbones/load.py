"""Loads the network of a model directory: the packed BERT where that computes the model, else transformers' own class.

Both give token states back to back (T, H), so what follows does not care which one ran.
"""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.backbones import bert
from recsys_batch.nn.backbones.padded import PaddedTransformer
from recsys_batch.nn.files.check import check_model_files, read_json, weight_files


class Backbone(Protocol):
    """A network from token ids to token states; `max_positions` bounds the tokens of one text.

    `pads` tells whether attention sees padding; `linear_shapes` are the usual (in, out) widths of its products.
    """

    dim: int
    max_positions: int
    pads: bool
    linear_shapes: list[tuple[int, int]]

    def hidden(self, ids_T: Tensor, lengths_B: Tensor, padded_length: int) -> Tensor:
        """Return states (T, H) on the network's device for ids (T) of texts with `lengths_B` tokens each, all int64
        on CPU.
        """

    def count_flops(self, lengths_B: Tensor) -> float:
        """Return the floating-point operations that texts of these lengths need, without any padding."""


def load_backbone(path: Path, device: str, dtype: torch.dtype, backend: str = "torch") -> Backbone:
    """Load the network in directory `path` onto `device`; `backend` is one of `settings.BackendName`.

    Raises ModelFilesError where files are missing, truncated or unsafe, or the network cannot be built from them,
    ConfigError where the backend cannot be had, and ValueError for one that is unknown.
    """
    check_model_files(path)
    if backend in ("openvino", "openvino_int8"):
        from recsys_batch.nn.backbones.openvino import OpenVinoTransformer

        return OpenVinoTransformer(path, device, dtype, int8=backend == "openvino_int8")
    if backend != "torch":
        raise ValueError(f"backend must be torch, openvino or openvino_int8, not {backend!r}")
    config = read_json(path / "config.json")
    if not bert.supports(config):
        return PaddedTransformer(path, device, dtype)
    from safetensors.torch import load_file

    tensors = {name: tensor for file in weight_files(path) for name, tensor in load_file(file).items()}
    try:
        return bert.PackedBert(config, tensors, device, dtype)
    except KeyError as error:  # older names inside the checkpoint: transformers knows how to rename them
        missing = error
    try:
        return PaddedTransformer(path, device, dtype)
    except ModelFilesError as error:
        raise ModelFilesError(f"the weights in {path} lack {missing}; copy the model again") from error
