"""Tokenizers fitted on a corpus, Chinese and English together, written as files that every part of the project reads.

All of them normalize to NFKC and lower case. WordPiece keeps every Chinese character a token of its own, as tagging by
character needs; Unigram joins frequent ones, which makes texts shorter.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from recsys_batch.contracts.errors import ConfigError, ModelFilesError


class VocabularyTooSmallError(ConfigError):
    """The tokenizer's size leaves no room for the characters of the corpus."""


TokenizerKind = Literal["wordpiece", "unigram"]
NUM_SENTINELS = 100
_BERT_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_UNIGRAM_TOKENS = {"pad": "<pad>", "eos": "</s>", "unk": "<unk>", "bos": "<s>", "mask": "<mask>"}
_LONGEST_PIECE = 8


def sentinel(number: int) -> str:
    """Return the token that stands for a span cut out of a text, 0 to 99, as T5 calls it."""
    return f"<extra_id_{number}>"


def train_wordpiece(texts: Iterable[str], vocab_size: int, min_frequency: int = 2) -> tokenizers.Tokenizer:
    """Return a tokenizer as BERT's, with word pieces (`##`) for words and one token a Chinese character.

    All characters that occur are in the vocabulary where it has room, else the most frequent. A text becomes
    `[CLS] ... [SEP]`. The same texts in the same order give the same tokenizer.
    """
    texts = list(texts)
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token=_BERT_TOKENS["unk"], max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=True),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    alphabet, inner = _characters(tokenizer, texts, max(1, vocab_size // 4 * 3))
    special = list(_BERT_TOKENS.values())
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        # The trainer numbers what it meets in the order of a hash map, which changes from run to run, and of pairs
        # equally frequent it joins the one with the lower numbers: so all characters are numbered beforehand.
        special_tokens=[*special, *alphabet, *(f"##{character}" for character in inner)],
        continuing_subword_prefix="##",
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = models.WordPiece(tokenizer.get_vocab(), unk_token=_BERT_TOKENS["unk"], max_input_chars_per_word=100)
    normalizer, pre_tokenizer, decoder = tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, pre_tokenizer, decoder
    tokenizer.add_special_tokens(special)
    begin, end = (_BERT_TOKENS[role] for role in ("cls", "sep"))
    tokenizer.post_processor = _frame(tokenizer, begin, end)
    return tokenizer


def train_unigram(texts: Iterable[str], vocab_size: int, *, begin: bool = False) -> tokenizers.Tokenizer:
    """Return a Unigram tokenizer (Kudo, 2018) with T5's sentinel tokens; blanks are part of the pieces.

    A text becomes `... </s>`, or `<s> ... </s>` with `begin`, which a decoder needs to predict the first token. Fitted
    twice on the same texts the pieces' scores differ in the last digits, and so may the rarest pieces: keep the file.
    Raises VocabularyTooSmallError where the size is below the number of characters.
    """
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(tokenizers.Regex(r"\s+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        max_piece_length=_LONGEST_PIECE,
        special_tokens=[*_UNIGRAM_TOKENS.values(), *map(sentinel, range(NUM_SENTINELS))],
        unk_token=_UNIGRAM_TOKENS["unk"],
        show_progress=False,
    )
    try:
        tokenizer.train_from_iterator(texts, trainer)
    except Exception as error:
        if "not large enough to contain all chars" not in str(error):
            raise
        raise VocabularyTooSmallError(
            f"a Unigram vocabulary of {vocab_size:,} has no room for all characters of the texts; raise it, or take a "
            "WordPiece tokenizer, which leaves out the rarest"
        ) from error
    tokenizer.post_processor = _frame(tokenizer, _UNIGRAM_TOKENS["bos"] if begin else "", _UNIGRAM_TOKENS["eos"])
    return tokenizer


def save_tokenizer(tokenizer: tokenizers.Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json` and what transformers needs to load it, into a folder that may hold a model."""
    from transformers import PreTrainedTokenizerFast

    known = _BERT_TOKENS if tokenizer.token_to_id(_BERT_TOKENS["mask"]) is not None else _UNIGRAM_TOKENS
    roles = {f"{role}_token": token for role, token in known.items()}
    folder.mkdir(parents=True, exist_ok=True)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)  # type: ignore[no-untyped-call]
    wrapped.save_pretrained(str(folder))


def load_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """Return the tokenizer of a model directory, without truncation and padding.

    Raises ModelFilesError where `tokenizer.json` is missing or damaged.
    """
    file = folder / "tokenizer.json"
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:
        raise ModelFilesError(
            f"{file} does not load ({error}); pre-training needs a model with a fast tokenizer"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_id(tokenizer: tokenizers.Tokenizer, role: Literal["pad", "mask", "bos", "eos", "cls", "sep"]) -> int:
    """Return the id of a special token by its role. Raises ModelFilesError where the tokenizer has none."""
    names = [*(known[role] for known in (_BERT_TOKENS, _UNIGRAM_TOKENS) if role in known), "<|endoftext|>"]
    names = names[:-1] if role in ("mask", "cls", "sep") else names
    for name in names:
        found = tokenizer.token_to_id(name)
        if found is not None:
            return int(found)
    raise ModelFilesError(f"the tokenizer has no {role} token (looked for {', '.join(names)}); use another objective")


def _characters(tokenizer: tokenizers.Tokenizer, texts: Sequence[str], most: int) -> tuple[list[str], list[str]]:
    """Return the characters of the texts as the tokenizer sees them, at most `most`, frequent ones first; and those of
    them that occur inside words.
    """
    counts: Counter[str] = Counter()
    inside: set[str] = set()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            counts.update(word)
            inside.update(word[1:])
    alphabet = sorted(counts, key=lambda character: (-counts[character], character))[:most]
    return alphabet, [character for character in alphabet if character in inside]


def _frame(tokenizer: tokenizers.Tokenizer, begin: str, end: str) -> processors.TemplateProcessing:
    tokens = [(token, tokenizer.token_to_id(token) or 0) for token in (begin, end) if token]
    template = f"{begin} $A {end}".strip()
    return processors.TemplateProcessing(single=template, pair=f"{template} $B {end}", special_tokens=tokens)
