"""User models over a fixed set of items: a trained sequence model, and several joined; and their files."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.scoring.sequence_model import Histories, ItemTable, SequenceModel, SequenceShape, UserModel

_WEIGHTS, _SHAPE = "sequence_model.safetensors", "sequence_model.json"
_USERS_AT_ONCE = 2048


class FixedUserModel:
    """A sequence model with its items; dropout off, no gradients, vectors on the CPU."""

    def __init__(self, model: SequenceModel, table: ItemTable) -> None:
        """Keep both; the table goes where the model's weights are."""
        self.model = model
        self.table = table.to(model.log_scale.device)

    def vectors(self, histories: Histories) -> Tensor:
        """Return one vector a user (B, V)."""
        device = self.model.log_scale.device
        parts = zip(
            torch.split(histories.items_BL, _USERS_AT_ONCE),
            torch.split(histories.events_BL, _USERS_AT_ONCE),
            torch.split(histories.gaps_BL, _USERS_AT_ONCE),
            strict=True,
        )
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                found = [self.model.vectors(Histories(*part).to(device), self.table).cpu() for part in parts]
        finally:
            self.model.train(was_training)
        return torch.cat(found)

    def item_vectors(self) -> Tensor:
        """Return one vector an item (I, V)."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                return self.model.item_vectors(self.table).cpu()
        finally:
            self.model.train(was_training)


class JoinedUserModel:
    """Several user models of the same items as one: a score is the mean of theirs, still one dot product."""

    def __init__(self, models: Sequence[UserModel]) -> None:
        """Raise ValueError where there is none."""
        if not models:
            raise ValueError("joined user models need at least one")
        self.models = models

    def vectors(self, histories: Histories) -> Tensor:
        """Return the models' vectors side by side, divided by their number."""
        return torch.cat([model.vectors(histories) for model in self.models], dim=1) / len(self.models)

    def item_vectors(self) -> Tensor:
        """Return the models' vectors side by side."""
        return torch.cat([model.item_vectors() for model in self.models], dim=1)


def save_sequence_model(model: SequenceModel, folder: Path) -> None:
    """Write weights (safetensors) and shape into a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, str(folder / _WEIGHTS))
    (folder / _SHAPE).write_text(json.dumps(asdict(model.shape), indent=2) + "\n", encoding="utf-8")


def load_sequence_model(folder: Path) -> SequenceModel:
    """Read what `save_sequence_model` wrote, in evaluation mode.

    Raises ModelFilesError where a file is missing, damaged, or the weights do not have the shape.
    """
    try:
        shape = SequenceShape(**json.loads((folder / _SHAPE).read_text(encoding="utf-8")))
        model = SequenceModel(shape)
        model.load_state_dict(load_file(str(folder / _WEIGHTS)))
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelFilesError(f"{folder} holds no sequence model that can be read: {error}") from error
    return model.eval()
