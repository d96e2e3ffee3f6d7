"""transformers' own networks, fed with padded batches: what runs every model that the packed BERT does not compute."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.backbones.attention import to_device
from recsys_batch.nn.backbones.flops import count_attention_flops
from recsys_batch.nn.files.check import read_json
from recsys_batch.nn.files.quiet_loading import quiet_transformers

ENCODER_HALVES = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")
_UNUSED_WEIGHTS = ("pooler.",)


class PaddedTransformer:
    """Any encoder or decoder that transformers can load from safetensors without remote code, fed with padded batches.

    Texts are padded on the right, whatever the tokenizer's own habit: with a causal mask no real token sees padding,
    and the positions start at 0 as they do for a text alone.
    """

    pads = True

    def __init__(self, path: Path, device: str, dtype: torch.dtype) -> None:
        """Load the weights, silently. Raises ModelFilesError where transformers cannot."""
        self.model = load_transformer(path, dtype).eval().to(device)
        config = self.model.config
        self._device = device
        self._num_layers = int(getattr(config, "num_hidden_layers", 0))
        self.dim = int(config.hidden_size)
        self.max_positions = _count_positions(config)
        self._pad_id = int(getattr(config, "pad_token_id", None) or 0)
        linears = [module for module in self.model.modules() if isinstance(module, torch.nn.Linear)]
        self._linear_weights = sum(module.weight.numel() for module in linears)
        shapes = Counter((module.in_features, module.out_features) for module in linears)
        self.linear_shapes = [shape for shape, _ in shapes.most_common(4)]

    def hidden(self, ids_T: Tensor, lengths_B: Tensor, padded_length: int) -> Tensor:
        """Pad to (B, padded_length), run the network, and return only the states of real tokens."""
        ids_BL, mask_BL = pad(ids_T, lengths_B, padded_length, self._pad_id)
        slot_of_token_T = to_device(mask_BL.flatten().nonzero().squeeze(1), self._device)
        states_BLH = self.model(
            input_ids=to_device(ids_BL, self._device), attention_mask=to_device(mask_BL.long(), self._device)
        ).last_hidden_state
        states_TH: Tensor = states_BLH.flatten(0, 1).index_select(0, slot_of_token_T)
        return states_TH

    def count_flops(self, lengths_B: Tensor) -> float:
        """Return the floating-point operations of the linear layers and of full attention over real tokens."""
        return 2.0 * self._linear_weights * float(lengths_B.sum()) + count_attention_flops(
            lengths_B, self.dim, self._num_layers
        )


def pad(ids_T: Tensor, lengths_B: Tensor, padded_length: int, pad_id: int) -> tuple[Tensor, Tensor]:
    """Return token ids (B, padded_length) filled up with `pad_id` on the right, and a mask that is true for the real
    ones.
    """
    mask_BL = torch.arange(padded_length) < lengths_B[:, None]
    return torch.full(mask_BL.shape, pad_id, dtype=torch.int64).masked_scatter_(mask_BL, ids_T), mask_BL


def load_transformer(path: Path, dtype: torch.dtype) -> Any:
    """Return transformers' own model without head, silently. Raises ModelFilesError where it cannot be had whole."""
    import transformers

    config = read_json(path / "config.json")
    kind = str(config.get("model_type"))
    if config.get("is_encoder_decoder") and kind not in ENCODER_HALVES:
        raise ModelFilesError(f"{path} is a {kind} encoder-decoder, whose encoder cannot be taken alone; use another")
    model_class: Any = getattr(transformers, ENCODER_HALVES.get(kind, "AutoModel"))
    try:
        with quiet_transformers():
            model, report = model_class.from_pretrained(
                str(path),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=dtype,
                output_loading_info=True,
            )
    except Exception as error:
        raise ModelFilesError(f"transformers cannot load {path} ({error})") from error
    # transformers would go on with random numbers in their place.
    if missing := sorted(name for name in report["missing_keys"] if not name.startswith(_UNUSED_WEIGHTS)):
        raise ModelFilesError(f"the weights in {path} lack {missing[0]!r}; copy the model again")
    model.config.use_cache = False
    return model


def _count_positions(config: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or 2**31
    offset = int(getattr(config, "pad_token_id", None) or 0) + 1 if config.model_type in _OFFSET_POSITIONS else 0
    return int(positions) - offset
