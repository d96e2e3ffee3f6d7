"""A model directory of a BERT of two layers with seeded random weights, and its tokenizer."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from recsys_batch.training.pretrain.tokenizers import save_tokenizer, train_wordpiece

WORDS = (
    *(
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "red",
        "blue",
        "runn",
        "##ing",
        "shoes",
        "mug",
        "cup",
        "good",
        "bad",
    ),
    *"红色跑鞋华为手机壳好差",
)


def write_tiny_model(folder: Path, *, corpus: Sequence[str] = (), dropout: float = 0.1, seed: int = 0) -> Path:
    """Write the model and return its folder; its words are `WORDS`, or those that a tokenizer learns of `corpus`."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    if corpus:
        tokenizer = train_wordpiece(corpus, 2000)
        save_tokenizer(tokenizer, folder)
        vocab_size = tokenizer.get_vocab_size()
    else:
        _write_words(folder)
        vocab_size = len(WORDS)
    config = transformers.BertConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(str(folder))
    return folder


def _write_words(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"truncation_side": "right"}))
