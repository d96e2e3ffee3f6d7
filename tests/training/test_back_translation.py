"""Back-translation with tiny sequence-to-sequence models made here: a pair taught each other's words."""

import json
from pathlib import Path

import pytest
import torch

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.training.augment.back_translation import Translator, back_translate

WORDS = ["<pad>", "</s>", "<unk>", "red", "blue", "shoes", "mug", "rot", "blau", "schuhe", "becher"]
ENGLISH_TO_GERMAN = {3: 7, 4: 8, 5: 9, 6: 10}


def make_model(folder: Path, meanings: dict[int, int], steps: int) -> Path:
    """Write a tiny T5 that is taught for some steps to translate words by `meanings`."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(str(folder))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.T5Config(
            vocab_size=len(WORDS),
            d_model=32,
            d_kv=16,
            d_ff=64,
            num_layers=1,
            num_decoder_layers=1,
            num_heads=2,
            dropout_rate=0.0,
            decoder_start_token_id=0,
        )
        model = transformers.T5ForConditionalGeneration(config)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        sources = torch.tensor([[word, 1] for word in meanings])
        targets = torch.tensor([[word, 1] for word in meanings.values()])
        for _ in range(steps):
            optimizer.zero_grad()
            model(input_ids=sources, labels=targets).loss.backward()
            optimizer.step()
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    return Translator(make_model(tmp_path_factory.mktemp("there") / "model", ENGLISH_TO_GERMAN, 40))


@pytest.fixture(scope="module")
def back(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    meanings = {german: english for english, german in ENGLISH_TO_GERMAN.items()}
    return Translator(make_model(tmp_path_factory.mktemp("back") / "model", meanings, 40))


def test_there_and_back(there: Translator, back: Translator) -> None:
    texts = ["red", "mug", "blue", "shoes", "mug"]
    assert there.translate(texts) == ["rot", "becher", "blau", "schuhe", "becher"]
    assert there.translate(texts, batch_size=2) == there.translate(texts)
    assert back_translate(texts, there, back) == texts
    assert back_translate([], there, back) == []


def test_a_text_that_comes_back_empty_is_kept(there: Translator) -> None:
    class Silent:
        def translate(self, texts: list[str], **options: object) -> list[str]:
            return [" "] * len(texts)

    assert back_translate(["red mug"], there, Silent()) == ["red mug"]  # type: ignore[arg-type]


def test_the_seed_decides_and_the_global_generator_stays(there: Translator) -> None:
    texts = ["red", "shoes"] * 4
    state = torch.get_rng_state()
    first = there.translate(texts, seed=1, temperature=3.0)
    assert torch.equal(torch.get_rng_state(), state)
    assert there.translate(texts, seed=1, temperature=3.0) == first
    assert there.translate(texts, seed=2, temperature=3.0) != first


def test_refusals(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="no sequence-to-sequence model"):
        Translator(tiny_folder)
    folder = make_model(tmp_path / "model", ENGLISH_TO_GERMAN, 0)
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True, "d_model": "x"}))
    with pytest.raises(ModelFilesError):
        Translator(folder)
