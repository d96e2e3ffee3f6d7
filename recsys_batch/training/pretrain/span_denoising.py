"""Span denoising (Raffel et al., 2020): spans of a text are cut out, and a decoder writes them down."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.learning.language_model import LanguageModel
from recsys_batch.nn.learning.losses import cross_entropy_sum
from recsys_batch.nn.learning.text_network import TextBatch
from recsys_batch.nn.learning.text_pieces import PieceTokenizer
from recsys_batch.training.examples.text_sets import EVALUATION_BATCH
from recsys_batch.training.examples.token_batches import order_by_length, pad_batch
from recsys_batch.training.loop.sampling import derive_seed
from recsys_batch.training.loop.task import TaskBatch
from recsys_batch.training.pretrain.language import LanguageTask
from recsys_batch.training.pretrain.masking import choose_spans, cut_spans
from recsys_batch.training.pretrain.tokenizers import NUM_SENTINELS, load_tokenizer, sentinel, special_id

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class DenoisingInputs:
    """Texts with sentinels in place of their spans, and the spans after their sentinels."""

    text: TextBatch
    targets: TextBatch


class SpanDenoisingTask(LanguageTask):
    """Loss over all target tokens; a long text is several examples."""

    def __init__(
        self,
        model: LanguageModel,
        train: Sequence[str],
        held_out: Sequence[str] = (),
        *,
        share: float = 0.15,
        mean_span: float = 3.0,
        seed: int = 0,
        name: str = "denoising",
    ) -> None:
        """Tokenize the texts; those of fewer than two tokens are left out. What is cut out of the held-out texts
        follows from `seed`.

        Raises ModelFilesError where the tokenizer has no sentinels, ValueError for a share or span out of range.
        """
        if not 0 < share < 1 or mean_span < 1:
            raise ValueError(f"share ({share}) must be between 0 and 1, mean_span ({mean_span}) at least 1")
        super().__init__(model, name)
        self._share, self._mean_span = share, mean_span
        network = model.network
        tokenizer = load_tokenizer(network.folder)
        self._sentinels = _find_sentinels(tokenizer, network.folder)
        self._eos_id = special_id(tokenizer, "eos")
        self._tokenizer = PieceTokenizer(network.folder, network.max_tokens)
        self._train = self._read(train)
        rng = np.random.default_rng(derive_seed(seed, "held out", name))
        rows = [self._cut(row, rng) for row in self._read(held_out)]
        self._held_out = [
            self._batch(rows[start : start + EVALUATION_BATCH]) for start in range(0, len(rows), EVALUATION_BATCH)
        ]

    def __len__(self) -> int:
        """Return the number of training examples."""
        return len(self._train)

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        """Return the texts of these positions, other spans cut out every time."""
        return self._batch([self._cut(self._train[index], rng) for index in indices])

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return the logits (T, V) of the target tokens, text after text."""
        inputs: DenoisingInputs = batch.inputs
        whole: Any = self.model.whole
        device = self.model.network.device
        mask_BL, told_BL = inputs.text.mask_BL.to(device), inputs.targets.mask_BL.to(device)
        # The decoder reads what it has written so far: the targets, moved on by one place.
        labels_BL = inputs.targets.ids_BL.to(device)
        start_B1 = torch.full_like(labels_BL[:, :1], int(whole.config.decoder_start_token_id))
        logits_BLV: Tensor = whole(
            input_ids=inputs.text.ids_BL.to(device),
            attention_mask=mask_BL.long(),
            decoder_input_ids=torch.cat([start_B1, labels_BL[:, :-1]], dim=1),
        ).logits
        return logits_BLV[told_BL]

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the cross-entropy, summed over the target tokens."""
        targets: TextBatch = batch.inputs.targets
        return cross_entropy_sum(outputs, targets.ids_BL[targets.mask_BL].to(outputs.device))

    def _read(self, texts: Sequence[str]) -> list[Ids]:
        special = list(self._tokenizer.special_ids - {self._unknown_id()})
        rows = [piece.ids_L[~np.isin(piece.ids_L, special)] for piece in self._tokenizer.pieces(texts)]
        return [row for row in rows if len(row) > 1]

    def _unknown_id(self) -> int:
        found = load_tokenizer(self.model.network.folder).token_to_id("<unk>")
        return -1 if found is None else int(found)

    def _cut(self, row: Ids, rng: np.random.Generator) -> tuple[Ids, Ids]:
        spans = choose_spans(len(row), self._share, self._mean_span, len(self._sentinels), rng)
        return cut_spans(row, spans, self._sentinels, self._eos_id)

    def _batch(self, rows: Sequence[tuple[Ids, Ids]]) -> TaskBatch:
        rows = [rows[place] for place in order_by_length([text for text, _ in rows])]
        pad_id = self.model.network.pad_id
        text, targets = pad_batch([t for t, _ in rows], pad_id), pad_batch([t for _, t in rows], pad_id)
        num_targets = targets.num_tokens
        return TaskBatch(DenoisingInputs(text, targets), float(num_targets), text.num_tokens + num_targets)


def _find_sentinels(tokenizer: Any, folder: object) -> Ids:
    found = [tokenizer.token_to_id(sentinel(number)) for number in range(NUM_SENTINELS)]
    known = [index for index in found if index is not None]
    if not known:
        raise ModelFilesError(
            f"the tokenizer in {folder} has no sentinel tokens (looked for {sentinel(0)}); denoising needs a T5 "
            "tokenizer, or one that is trained here (tokenizer.kind unigram)"
        )
    return np.array(known, dtype=np.int64)
