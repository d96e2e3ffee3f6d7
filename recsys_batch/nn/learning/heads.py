"""What stands on top of an encoder: classes of texts or words, a number of a text, how well two things go together.

Heads give logits; what a probability is follows by softmax or sigmoid. `save_head` writes one beside its encoder.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys_batch.contracts.errors import ModelFilesError

_WEIGHTS, _SETTINGS = "head.safetensors", "head.json"
_INITIAL_SCALE = 0.02  # as BERT's own heads


def _linear(num_in: int, num_out: int, generator: torch.Generator) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, num_in, num_out)  # type: ignore[no-untyped-call]
    nn.init.normal_(layer.weight, std=_INITIAL_SCALE, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


class ClassHead(nn.Module):
    """Dropout and a linear layer: vectors (..., H) to logits (..., C), of texts or of words."""

    def __init__(self, dim: int, num_classes: int, dropout: float = 0.1, seed: int = 0) -> None:
        """Start from random weights that depend on `seed` alone."""
        super().__init__()
        self.settings = {"kind": "class", "dim": dim, "num_classes": num_classes, "dropout": dropout}
        self.dropout = nn.Dropout(dropout)
        self.linear = _linear(dim, num_classes, torch.Generator().manual_seed(seed))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return logits (..., C)."""
        logits: Tensor = self.linear(self.dropout(vectors))
        return logits


class TagHead(ClassHead):
    """As `ClassHead` logits of words' tags, and scores of a text's first tag and of moves between tags (`nn.crf`)."""

    def __init__(self, dim: int, num_classes: int, dropout: float = 0.1, seed: int = 0) -> None:
        """Start from random weights that depend on `seed` alone; every move is as good as another."""
        super().__init__(dim, num_classes, dropout, seed)
        self.settings["kind"] = "tag"
        self.start_C = nn.Parameter(torch.zeros(num_classes))
        self.transitions_CC = nn.Parameter(torch.zeros(num_classes, num_classes))


class NumberHead(nn.Module):
    """Dropout and a linear layer: vectors (B, H) to one standardized number each (B).

    `mean` and `scale` are those of the targets, so that all that is learned is of size 1.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, mean: float = 0.0, scale: float = 1.0, dropout: float = 0.1, seed: int = 0) -> None:
        """Start from random weights that depend on `seed` alone."""
        super().__init__()
        self.settings = {"kind": "number", "dim": dim, "dropout": dropout}
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.dropout = nn.Dropout(dropout)
        self.linear = _linear(dim, 1, torch.Generator().manual_seed(seed))

    def forward(self, vectors_BH: Tensor) -> Tensor:
        """Return standardized numbers (B)."""
        numbers: Tensor = self.linear(self.dropout(vectors_BH)).squeeze(-1)
        return numbers

    def standardize(self, targets_B: Tensor) -> Tensor:
        """Return targets in the units of `forward`, in double precision."""
        return (targets_B.to(self.mean) - self.mean) / self.scale

    def restore(self, numbers_B: Tensor) -> Tensor:
        """Return what `forward` gave in the targets' own units, in double precision."""
        return numbers_B.to(self.mean) * self.scale + self.mean


class PairHead(nn.Module):
    """How well left and right go together: (B, L) and (B, H) to one logit each (B).

    Reads the directions of both vectors, the distance of the directions and their product in every dimension (after Mou
    et al., 2016; the sum of the products is the cosine). Left vectors of another origin (users, say) are first brought
    into the encoder's space by a linear layer: `left_dim` above 0.

    Vectors of one encoder are already alike where texts go together: the head then starts as `COSINE_SLOPE` times their
    cosine, so that what pre-training knows need not be found again from a few clicks. Products count `sqrt(dim)`-fold,
    like components of a direction: the start is then a weight of 0.26 in each of 384 dimensions, which a learning rate
    of 1e-3 refines; a weight of 0.01 it would drown within a dozen steps.
    """

    COSINE_SLOPE: Final = 5.0

    def __init__(self, dim: int, left_dim: int = 0, dropout: float = 0.1, seed: int = 0) -> None:
        """Start from weights that depend on `seed` alone."""
        super().__init__()
        self.settings = {"kind": "pair", "dim": dim, "left_dim": left_dim, "dropout": dropout}
        generator = torch.Generator().manual_seed(seed)
        self.project = _linear(left_dim, dim, generator) if left_dim else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.linear = _linear(4 * dim, 1, generator)
        if not left_dim:
            with torch.no_grad():
                self.linear.weight.zero_()
                self.linear.weight[0, 2 * dim : 3 * dim] = self.COSINE_SLOPE / math.sqrt(dim)

    def forward(self, left_BL: Tensor, right_BH: Tensor) -> Tensor:
        """Return logits (B)."""
        left_BH = self.project(left_BL)
        left_unit_BH, right_unit_BH = functional.normalize(left_BH, dim=1), functional.normalize(right_BH, dim=1)
        product_BH = left_unit_BH * right_unit_BH * math.sqrt(left_BH.shape[1])
        distance_BH = (left_unit_BH - right_unit_BH).abs()
        features = torch.cat([left_unit_BH, right_unit_BH, product_BH, distance_BH], dim=1)
        logits: Tensor = self.linear(self.dropout(features)).squeeze(-1)
        return logits


Head = ClassHead | NumberHead | PairHead
_KINDS: dict[str, type[ClassHead] | type[NumberHead] | type[PairHead]] = {
    "class": ClassHead,
    "tag": TagHead,
    "number": NumberHead,
    "pair": PairHead,
}


def save_head(head: Head, folder: Path, notes: Mapping[str, Any]) -> None:
    """Write `head.safetensors` and `head.json` (with `notes`, such as the classes' names) into a folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in head.state_dict().items()}, folder / _WEIGHTS)
    content = {**head.settings, "notes": dict(notes)}
    (folder / _SETTINGS).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_head(folder: Path) -> tuple[Head, dict[str, Any]]:
    """Return what `save_head` wrote, in evaluation mode, and its notes.

    Raises ModelFilesError where a file is missing, damaged, or does not fit the other.
    """
    from safetensors.torch import load_file

    try:
        settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        notes = dict(settings.pop("notes"))
        head = _KINDS[settings.pop("kind")](**settings)
        head.load_state_dict(load_file(folder / _WEIGHTS))
    except Exception as error:
        raise ModelFilesError(f"{folder} holds no head that loads ({error}); copy the model again") from error
    return head.eval(), notes
