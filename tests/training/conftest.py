"""Tiny models made by the tests: a BERT of two layers, and its WordPiece tokenizer of English and Chinese words."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from recsys_batch.nn.text_network import TextNetwork

_WORDS = (
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


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products gain nothing from threads, and lose much where other processes use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with seeded random weights."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("tiny_bert")
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(_WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"truncation_side": "right"}))
    config = transformers.BertConfig(
        vocab_size=len(_WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(str(folder))
    return folder


@pytest.fixture
def tiny_network(tiny_folder: Path) -> Callable[..., TextNetwork]:
    """Loads a fresh copy of the tiny model; takes what `TextNetwork.load` takes."""

    def load(max_tokens: int = 32, **options: object) -> TextNetwork:
        return TextNetwork.load(tiny_folder, max_tokens, **options)  # type: ignore[arg-type]

    return load
