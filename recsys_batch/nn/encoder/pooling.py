"""How the token states of a text become its one vector.

Reads sentence-transformers' description of a model, and refuses what it does not compute rather than giving other
vectors.
"""

import json
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.backbones.attention import to_device
from recsys_batch.nn.files.check import read_json

PoolingName = Literal["mean", "cls", "last"]

_FLAGS: dict[str, PoolingName] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_NAMES: dict[str, PoolingName] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}


def read_pooling(path: Path) -> PoolingName:
    """Return the pooling that the model in directory `path` was trained with; mean where it does not say.

    Raises ModelFilesError for a pooling, or a module after pooling, that is not computed here (max, weighted mean,
    dense).
    """
    modules = path / "modules.json"
    if modules.is_file():
        _check_modules(modules)
    file = path / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    config = read_json(file)
    modes = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if isinstance(config.get("pooling_mode"), str):
        modes = [config["pooling_mode"]]
    pooling = {**_FLAGS, **_NAMES}.get(modes[0]) if len(modes) == 1 else None
    if pooling is None:
        raise ModelFilesError(
            f"{file} asks for pooling {', '.join(modes) or 'none'}; only mean, cls and last token are supported"
        )
    if config.get("include_prompt") is False:
        raise ModelFilesError(f"{file} leaves the prompt out of the pooling, which is not supported; use another model")
    return pooling


def _check_modules(modules: Path) -> None:
    try:
        kinds = {str(module["type"]).rsplit(".", 1)[-1] for module in json.loads(modules.read_text(encoding="utf-8"))}
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFilesError(f"{modules} is no list of modules; copy the model again") from error
    unknown = kinds - {"Transformer", "Pooling", "Normalize"}
    if unknown:
        raise ModelFilesError(
            f"{modules} lists {', '.join(sorted(unknown))}, which is not supported; "
            "use another model, or set pooling to leave it out"
        )


def pool(hidden_TH: Tensor, lengths_B: Tensor, pooling: PoolingName) -> Tensor:
    """Return float32 vectors of shape (B, H) from token states (T, H) that lie text after text; lengths are
    positive.
    """
    lengths_B = to_device(lengths_B, str(hidden_TH.device))
    if pooling == "mean":
        # Checking the lengths (`unsafe=False`) would make the processor wait for the whole forward pass.
        return torch.segment_reduce(hidden_TH.float(), "mean", lengths=lengths_B, unsafe=True)
    ends_B = lengths_B.cumsum(0)
    return hidden_TH.index_select(0, ends_B - lengths_B if pooling == "cls" else ends_B - 1).float()
