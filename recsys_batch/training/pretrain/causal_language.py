"""Causal language modeling (Radford et al., 2018): guess every token from those before it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys_batch.nn.learning.language_model import LanguageModel
from recsys_batch.nn.learning.text_pieces import PieceTokenizer
from recsys_batch.training.loop.task import TaskBatch
from recsys_batch.training.pretrain.language import LanguageTask, TokenExample


class CausalLanguageTask(LanguageTask):
    """Loss over all tokens but the first of a text; a long text is several examples."""

    def __init__(
        self, model: LanguageModel, train: Sequence[str], held_out: Sequence[str] = (), *, name: str = "causal"
    ) -> None:
        """Tokenize the texts; those of one token, which nothing precedes, are left out."""
        super().__init__(model, name)
        self._tokenizer = PieceTokenizer(model.network.folder, model.network.max_tokens)
        self._train = self._read(train)
        self._held_out = self.token_batches(self._read(held_out))

    def __len__(self) -> int:
        """Return the number of training examples."""
        return len(self._train)

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:  # noqa: ARG002
        """Return the texts of these positions."""
        return self.token_batch([self._train[index] for index in indices])

    def _read(self, texts: Sequence[str]) -> list[TokenExample]:
        rows = [piece.ids_L for piece in self._tokenizer.pieces(texts) if len(piece.ids_L) > 1]
        return [TokenExample(ids_L, np.arange(len(ids_L) - 1), ids_L[1:]) for ids_L in rows]
