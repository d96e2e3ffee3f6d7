"""Token ids of texts that come as words (or characters), and where each word's first token stands; for tagging."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_batch.nn.encoder.tokenizing import Tokenizer, replace_lone_surrogates


@dataclass(frozen=True)
class WordTokens:
    """One text: its token ids, and for each word the position of its first token.

    The position is -1 for a word without token: the tokenizer drops it, or it lies beyond the cut.
    """

    ids: list[int]
    first_token_W: NDArray[np.int64]


class WordTokenizer(Tokenizer):
    """The tokenizer of a model directory for words: `word_ids(texts)` keeps track of them."""

    def word_ids(self, texts: Sequence[Sequence[str]]) -> list[WordTokens]:
        """Return the tokens of texts given as words, special tokens included. Raises TypeError for words that are no
        strings.

        A Chinese text may come as its characters: a word is whatever has a tag of its own.
        """
        clean = [[self._clean(word, position) for word in words] for position, words in enumerate(texts)]
        encodings = self._fast.encode_batch(clean, is_pretokenized=True)
        found = []
        for words, encoding in zip(clean, encodings, strict=True):
            first_token_W = np.full(len(words), -1, dtype=np.int64)
            for place in range(len(encoding.ids) - 1, -1, -1):
                word = encoding.word_ids[place]
                if word is not None:
                    first_token_W[word] = place
            found.append(WordTokens(encoding.ids, first_token_W))
        return found

    def _clean(self, word: str, position: int) -> str:
        if not isinstance(word, str):
            raise TypeError(f"texts[{position}] has a word that is {type(word).__name__}, not str")
        return replace_lone_surrogates(word.lower() if self._lower else word)
