"""Masked language modeling (Devlin et al., 2019), whole words at a time (Cui et al., 2021): guess what was hidden."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys_batch.nn.learning.language_model import LanguageModel
from recsys_batch.nn.learning.text_pieces import PieceTokenizer, TextPiece
from recsys_batch.training.loop.sampling import derive_seed
from recsys_batch.training.loop.task import TaskBatch
from recsys_batch.training.pretrain.language import LanguageTask, TokenExample
from recsys_batch.training.pretrain.masking import choose_words, hide
from recsys_batch.training.pretrain.tokenizers import load_tokenizer, special_id
from recsys_batch.training.pretrain.words import WordSplitter


class MaskedLanguageTask(LanguageTask):
    """Loss over the hidden tokens alone; a long text is several examples."""

    def __init__(
        self,
        model: LanguageModel,
        train: Sequence[str],
        held_out: Sequence[str] = (),
        *,
        share: float = 0.15,
        words: WordSplitter | None = None,
        seed: int = 0,
        name: str = "masked",
    ) -> None:
        """Tokenize the texts. With `words` whole words are hidden, else tokens, each by itself.

        What is hidden of the held-out texts follows from `seed` and is the same in every evaluation. Raises
        ModelFilesError where the tokenizer has no mask token, ValueError for a share that is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise ValueError(f"share of hidden tokens must be between 0 and 1, not {share}")
        super().__init__(model, name)
        self._share, self._words = share, words
        network = model.network
        self._mask_id = special_id(load_tokenizer(network.folder), "mask")
        self._tokenizer = PieceTokenizer(network.folder, network.max_tokens)
        self._ordinary = np.setdiff1d(np.arange(model.vocab_size), list(self._tokenizer.special_ids))
        self._train = self._read(train)
        rng = np.random.default_rng(derive_seed(seed, "held out", name))
        self._held_out = self.token_batches([self._hide(piece, rng) for piece in self._read(held_out)])

    def __len__(self) -> int:
        """Return the number of training examples."""
        return len(self._train)

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        """Return the texts of these positions, other tokens hidden every time."""
        return self.token_batch([self._hide(self._train[index], rng) for index in indices])

    def _read(self, texts: Sequence[str]) -> list[TextPiece]:
        return self._tokenizer.pieces(texts, self._words.starts(texts) if self._words else None)

    def _hide(self, piece: TextPiece, rng: np.random.Generator) -> TokenExample:
        words_L = piece.words_L
        if self._words is None:
            words_L = np.where(words_L >= 0, np.arange(len(words_L)), -1)
        hidden_L = choose_words(words_L, self._share, rng)
        places = np.flatnonzero(hidden_L)
        ids_L = hide(piece.ids_L, hidden_L, self._mask_id, self._ordinary, rng)
        return TokenExample(ids_L, places, piece.ids_L[places])
