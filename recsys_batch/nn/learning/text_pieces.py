"""Texts as pieces of at most so many tokens, nothing thrown away, and which word every token belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_batch.nn.encoder.tokenizing import Tokenizer, replace_lone_surrogates

_CONTINUES = "##"


@dataclass(frozen=True)
class TextPiece:
    """Some tokens in a row of one text, special tokens around them."""

    text: int
    """Position of the text."""
    ids_L: NDArray[np.int64]
    words_L: NDArray[np.int64]
    """Each token's word; -1 for special and unknown tokens."""


class PieceTokenizer(Tokenizer):
    """The tokenizer of a model directory for pre-training: `pieces(texts, starts)`."""

    def pieces(self, texts: Sequence[str], starts: Sequence[NDArray[np.int64]] | None = None) -> list[TextPiece]:
        """Return every text's tokens in pieces of at most `max_tokens`, special tokens included.

        `starts` are the positions at which the words of each text begin, rising; without them a word is a token and
        the `##` tokens after it. A token belongs to the word that holds its last character. Texts without tokens have
        no piece.
        """
        clean = [replace_lone_surrogates(text.lower() if self._lower else text) for text in texts]
        found = []
        for row, encoding in enumerate(self._fast.encode_batch(clean)):
            for part in (encoding, *encoding.overflowing):
                words_L = self._words(part, None if starts is None else starts[row])
                if (words_L >= 0).any():
                    found.append(TextPiece(row, np.array(part.ids, dtype=np.int64), words_L))
        return found

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of special tokens, the unknown one among them."""
        added = self._fast.get_added_tokens_decoder()
        return frozenset(index for index, token in added.items() if token.special)

    def _words(self, encoding: object, starts: NDArray[np.int64] | None) -> NDArray[np.int64]:
        ids, ends = encoding.ids, [end for _, end in encoding.offsets]  # type: ignore[attr-defined]
        is_special = np.isin(ids, list(self.special_ids))
        if starts is None:
            words_L = np.arange(len(ids))
        else:
            words_L = np.searchsorted(starts, np.array(ends, dtype=np.int64) - 1, side="right")
        for place, token in enumerate(encoding.tokens):  # type: ignore[attr-defined]
            if place and token.startswith(_CONTINUES) and not is_special[place]:
                words_L[place] = words_L[place - 1]
        return np.where(is_special, -1, words_L).astype(np.int64)
