"""Text to token ids with the model's own fast tokenizer: no padding, truncated on the side that it was made for.

Knows nothing of batches or devices.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.files.check import read_json

_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"
_LONG_TEXT = 65_536
"""Characters; of a longer text only the beginning is tokenized, where that suffices."""


def replace_lone_surrogates(text: str) -> str:
    """Return `text` with every lone surrogate (it has no UTF-8 form) replaced by U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub(_REPLACEMENT, text)


class Tokenizer:
    """`ids(texts)` gives one list of token ids a text, special tokens included, at most `max_tokens` long."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        """Load from a model directory.

        Raises ModelFilesError where it has no fast tokenizer that loads, ValueError where no text fits in `max_tokens`.
        """
        self._fast = _load_fast(path)
        self._fast.no_padding()
        num_special = int(self._fast.num_special_tokens_to_add(False))
        if max_tokens <= num_special:
            raise ValueError(f"max_tokens {max_tokens} leaves no room beside {num_special} special tokens")
        self._max_tokens = max_tokens
        self._cuts_left = _truncation_side(path) == "left"
        self._fast.enable_truncation(max_tokens, direction="left" if self._cuts_left else "right")
        # A SentencePiece model does not name its own; all that we know of call it `<unk>`.
        found = self._fast.token_to_id(getattr(self._fast.model, "unk_token", None) or "<unk>")
        self.unknown_id = -1 if found is None else int(found)
        """Id of what stands for a piece that the vocabulary does not have; -1: it has all."""
        settings = path / "sentence_bert_config.json"
        self._lower = settings.is_file() and bool(read_json(settings).get("do_lower_case"))

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text; an empty list for a text without tokens. Raises TypeError for
        non-strings.
        """
        clean = []
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"texts[{position}] is {type(text).__name__}, not str")
            clean.append(replace_lone_surrogates(self._shorten(text.lower() if self._lower else text)))
        return [encoding.ids for encoding in self._fast.encode_batch_fast(clean)]

    def _shorten(self, text: str) -> str:
        """Return the beginning of a very long text where all tokens that count come from its first half, else all.

        A tokenizer reads a megabyte in about a second, of which nearly all is then thrown away.
        """
        if len(text) <= _LONG_TEXT or self._cuts_left:
            return text
        beginning = text[:_LONG_TEXT]
        encoding = self._fast.encode(replace_lone_surrogates(beginning))
        last = max((end for _, end in encoding.offsets), default=0)
        return beginning if len(encoding.ids) == self._max_tokens and last < _LONG_TEXT // 2 else text


def _load_fast(path: Path) -> Any:
    import tokenizers

    file = path / "tokenizer.json"
    try:
        if file.is_file():
            return tokenizers.Tokenizer.from_file(str(file))
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(str(path), use_fast=True, trust_remote_code=False).backend_tokenizer
    except Exception as error:
        raise ModelFilesError(f"the tokenizer in {path} does not load ({error}); copy the model again") from error


def _truncation_side(path: Path) -> str:
    file = path / "tokenizer_config.json"
    return str(read_json(file).get("truncation_side", "right")) if file.is_file() else "right"
