"""Where the words of a text begin and end, learned from the shop's own corpus: Chinese has no blanks between them.

A run of letters and digits is one word; a run of Chinese characters is split by a Unigram model (Kudo, 2018) fitted on
such runs, so that the words are those that this shop's texts repeat (products, brands, shades), without a dictionary.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import models, trainers

from recsys_batch.contracts.errors import ModelFilesError

CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ebef\U00030000-\U0003134f"
"""Ranges of Chinese characters, for use inside the brackets of a regular expression."""
_CHINESE_RUN = re.compile(f"[{CHINESE}]+")
_WORD = re.compile(f"(?P<chinese>[{CHINESE}]+)|[^\\W_{CHINESE}]+|\\S")
_LONGEST_WORD = 6


class WordSplitter:
    """`starts(text)` gives the positions at which the words of a text begin."""

    def __init__(self, chinese: tokenizers.Tokenizer | None = None) -> None:
        """Split with a fitted model of Chinese words; without one, every Chinese character is a word."""
        self._chinese = chinese

    @classmethod
    def fit(cls, texts: Iterable[str], num_words: int = 20_000) -> "WordSplitter":
        """Learn about `num_words` Chinese words, each of at most six characters, from a corpus.

        A corpus without Chinese gives a splitter that takes every Chinese character for a word.
        """
        runs = [run for text in texts for run in _CHINESE_RUN.findall(text)]
        characters = sorted(set("".join(runs)))
        if not characters:
            return cls()
        model = tokenizers.Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            vocab_size=max(num_words, len(characters) + 1),
            initial_alphabet=characters,
            max_piece_length=_LONGEST_WORD,
            special_tokens=["[UNK]"],
            unk_token="[UNK]",  # noqa: S106 # a token of text
            show_progress=False,
        )
        model.train_from_iterator(runs, trainer)
        return cls(model)

    @classmethod
    def load(cls, file: Path) -> "WordSplitter":
        """Read what `save` wrote. Raises ModelFilesError where the file is missing or damaged."""
        try:
            content = file.read_text(encoding="utf-8")
            return cls(tokenizers.Tokenizer.from_str(content) if content.strip() else None)
        except Exception as error:
            raise ModelFilesError(f"{file} holds no word splitter ({error}); fit it on the corpus again") from error

    def save(self, file: Path) -> None:
        """Write the fitted model as JSON; an empty file where there is none."""
        file.write_text(self._chinese.to_str() if self._chinese else "", encoding="utf-8")

    def starts(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return for each text the positions (in characters, rising) at which its words begin."""
        found = [list(_WORD.finditer(text)) for text in texts]
        runs = [match[0] for matches in found for match in matches if match["chinese"]]
        splits = iter(self._split(runs))
        return [
            np.array(
                [match.start() + start for match in matches for start in (next(splits) if match["chinese"] else (0,))],
                dtype=np.int64,
            )
            for matches in found
        ]

    def words(self, text: str) -> list[str]:
        """Return the words of a text; blanks between them are dropped."""
        starts = self.starts([text])[0].tolist()
        return [text[start:end].rstrip() for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]

    def _split(self, runs: list[str]) -> list[Sequence[int]]:
        if self._chinese is None:
            return [range(len(run)) for run in runs]
        return [
            # Characters that were never seen come as one joined piece; each is a word by itself.
            [
                position
                for (start, end), token in zip(encoding.offsets, encoding.tokens, strict=True)
                for position in (range(start, end) if token not in run[start:end] else (start,))
            ]
            for run, encoding in zip(runs, self._chinese.encode_batch(runs), strict=True)
        ]
