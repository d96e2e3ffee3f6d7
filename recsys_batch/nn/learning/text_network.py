"""A text encoder that can be trained: transformers' own class, its tokenizer, and pooling that passes gradients.

What `save` writes is a model directory that `nn.Encoder` (and sentence-transformers) loads.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.backbones.padded import load_transformer
from recsys_batch.nn.encoder.pooling import PoolingName, read_pooling
from recsys_batch.nn.encoder.tokenizing import Tokenizer
from recsys_batch.nn.files.check import check_model_files
from recsys_batch.nn.files.quiet_loading import quiet_transformers

_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "added_tokens.json"),
    *("vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model"),
    *("sentence_bert_config.json", "config_sentence_transformers.json"),
)
_POOLING_FLAGS: dict[PoolingName, str] = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "last": "pooling_mode_lasttoken",
}


@dataclass(frozen=True)
class TextBatch:
    """Token ids (B, L) filled up on the right, and a mask true for the real ones; int64 and bool, on the CPU."""

    ids_BL: Tensor
    mask_BL: Tensor

    @property
    def num_tokens(self) -> int:
        """Real tokens."""
        return int(self.mask_BL.sum())


class TextNetwork(nn.Module):
    """Texts to token states (B, L, H), and to one unit vector each (B, H)."""

    def __init__(self, model: nn.Module, folder: Path, max_tokens: int, pooling: PoolingName) -> None:
        """Wrap a transformers model without head; `folder` holds its tokenizer's files."""
        super().__init__()
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # type: ignore[assignment] # never read, often random: it would change the fingerprint
        self.model = model
        self.folder = folder
        self.max_tokens = max_tokens
        self.pooling = pooling
        config: Any = model.config
        self.dim = int(config.hidden_size)
        self.pad_id = int(config.pad_token_id or 0)
        self.tokenizer = Tokenizer(folder, max_tokens)

    @classmethod
    def load(cls, folder: Path, max_tokens: int = 128, pooling: PoolingName | None = None) -> "TextNetwork":
        """Load float32 weights from a model directory; `pooling` where it should not be the model's own.

        Raises ModelFilesError where files are missing or unsafe, ValueError where no text fits in `max_tokens`.
        """
        check_model_files(folder)
        return cls(load_transformer(folder, torch.float32), folder, max_tokens, pooling or read_pooling(folder))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def tokenize(self, texts: Sequence[str]) -> TextBatch:
        """Return the texts as one padded batch; a text without tokens counts as one padding token."""
        ids = [found or [self.pad_id] for found in self.tokenizer.ids(texts)]
        return self.collate(ids)

    def collate(self, ids: Sequence[Sequence[int]]) -> TextBatch:
        """Return token ids of several texts, none empty, as one padded batch."""
        length = max(map(len, ids), default=1)
        ids_BL = torch.full((len(ids), length), self.pad_id, dtype=torch.int64)
        mask_BL = torch.zeros((len(ids), length), dtype=torch.bool)
        for row, found in enumerate(ids):
            ids_BL[row, : len(found)] = torch.tensor(found)
            mask_BL[row, : len(found)] = True
        return TextBatch(ids_BL, mask_BL)

    def states(self, batch: TextBatch) -> Tensor:
        """Return the token states (B, L, H); those of padding mean nothing."""
        mask_BL = batch.mask_BL.to(self.device)
        states_BLH: Tensor = self.model(
            input_ids=batch.ids_BL.to(self.device), attention_mask=mask_BL.long()
        ).last_hidden_state
        return states_BLH

    def pooled(self, batch: TextBatch) -> Tensor:
        """Return one vector a text (B, H), not normalized; for heads."""
        states_BLH, mask_BL = self.states(batch), batch.mask_BL.to(self.device)
        if self.pooling == "mean":
            mask_BL1 = mask_BL[:, :, None].to(states_BLH.dtype)
            return (states_BLH * mask_BL1).sum(1) / mask_BL1.sum(1)
        if self.pooling == "cls":
            return states_BLH[:, 0]
        last_B = mask_BL.sum(1) - 1
        return states_BLH[torch.arange(len(last_B), device=last_B.device), last_B]

    def embed(self, batch: TextBatch) -> Tensor:
        """Return one vector of length 1 a text (B, H)."""
        return functional.normalize(self.pooled(batch).float(), dim=1)

    def save(self, folder: Path, whole: nn.Module | None = None) -> None:
        """Write config, safetensors weights, tokenizer and pooling as a model directory, which must be new or empty.

        `whole` is a transformers model with a head that holds this network's own; its weights are written then, and
        the encoder is found among them. Raises ModelFilesError where the folder holds something.
        """
        if folder.is_dir() and any(folder.iterdir()):
            raise ModelFilesError(f"{folder} is not empty; a model version is written once, choose a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        model: Any = self.model if whole is None else whole
        with quiet_transformers():
            model.save_pretrained(str(folder), safe_serialization=True)
        for name in _TOKENIZER_FILES:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, folder / name)
        write_pooling(folder, self.dim, self.pooling)


def write_pooling(folder: Path, dim: int, pooling: PoolingName) -> None:
    """Write how a model directory's token states become one vector of length `dim`, as sentence-transformers does."""
    flags = {flag: name == pooling for name, flag in _POOLING_FLAGS.items()}
    _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dim, **flags})
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    _write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(modules)
        ],
    )


def _write_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
