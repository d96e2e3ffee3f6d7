"""Loads the network of a model directory: the packed BERT where that computes the model, else transformers' own class.

Both give token states back to back (T, H), so what follows does not care which one ran.
"""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn import bert
from recsys_batch.nn.model_files import check_model_files, read_json, weight_files


class Backbone(Protocol):
    """A network from token ids to token states; `max_positions` bounds the tokens of one text."""

    dim: int
    max_positions: int

    def hidden(self, ids_T: Tensor, lengths_B: Tensor, padded_length: int) -> Tensor:
        """Return states (T, H) on the network's device for ids (T) of texts with `lengths_B` tokens each, all int64
        on CPU.
        """


class PaddedTransformer:
    """Any encoder that transformers can load from safetensors without remote code, fed with padded batches."""

    def __init__(self, path: Path, device: str, dtype: torch.dtype) -> None:
        """Load the weights, silently. Raises ModelFilesError where transformers cannot."""
        from transformers import AutoModel
        from transformers.utils import logging as transformers_logging

        logging: Any = transformers_logging

        verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            self._model: Any = AutoModel.from_pretrained(
                str(path), use_safetensors=True, trust_remote_code=False, local_files_only=True, dtype=dtype
            )
        except Exception as error:
            raise ModelFilesError(f"transformers cannot load {path} ({error})") from error
        finally:
            logging.set_verbosity(verbosity)
            if had_bars:
                logging.enable_progress_bar()
        self._model.eval().to(device)
        self._device = device
        self.dim = int(self._model.config.hidden_size)
        self.max_positions = int(getattr(self._model.config, "max_position_embeddings", 2**31))
        self._pad_id = int(getattr(self._model.config, "pad_token_id", None) or 0)

    def hidden(self, ids_T: Tensor, lengths_B: Tensor, padded_length: int) -> Tensor:
        """Pad to (B, padded_length), run the network, and return only the states of real tokens."""
        mask_BL = torch.arange(padded_length) < lengths_B[:, None]
        ids_BL = torch.full(mask_BL.shape, self._pad_id, dtype=torch.int64).masked_scatter_(mask_BL, ids_T)
        mask_BL = mask_BL.to(self._device)
        states_BLH = self._model(input_ids=ids_BL.to(self._device), attention_mask=mask_BL.long()).last_hidden_state
        states_TH: Tensor = states_BLH[mask_BL]
        return states_TH


def load_backbone(path: Path, device: str, dtype: torch.dtype) -> Backbone:
    """Load the network in directory `path` onto `device`.

    Raises ModelFilesError where files are missing, truncated or unsafe, or the network cannot be built from them.
    """
    check_model_files(path)
    config = read_json(path / "config.json")
    if bert.supports(config):
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
    return PaddedTransformer(path, device, dtype)
