"""Pre-training as a whole: perplexity falls, runs resume, every type is an encoder afterwards, refusals."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from recsys_batch.contracts.config.pretrain import Pretrain
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.files.check import fingerprint_model
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.columns import LabeledTexts
from recsys_batch.training.loop.task import Task
from recsys_batch.training.pretrain import run as module
from recsys_batch.training.pretrain.corpus import Corpus, EmptyCorpusError
from recsys_batch.training.pretrain.run import VocabularyTooLargeError, pretrain
from recsys_batch.training.tasks.classification import ClassificationTask
from tests.training.small_corpus import shop_texts

CORPUS = Corpus.from_texts(shop_texts(240), 0.15)
OBJECTIVES = {"bert": "masked", "gpt": "causal", "t5": "denoising"}
VOCABULARIES = {"bert": 150, "gpt": 200, "t5": 200}


def settings(kind: str = "bert", epochs: int = 12, **changes: object) -> Pretrain:
    given: dict[str, object] = {
        "objectives": [OBJECTIVES[kind]],
        "architecture": {
            "kind": kind,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 2,
            "feed_forward": 64,
            "max_positions": 32,
        },
        "tokenizer": {"vocab_size": VOCABULARIES[kind]},
        "max_tokens": 32,
        "dropout": 0.0,
        "loop": Loop(
            epochs=epochs,
            batch_size=32,
            optimizer=Optimizer(learning_rate=5e-3, head_learning_rate=5e-3, layer_decay=1.0),
            metric="",
        ),
    }
    return Pretrain(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bert", "gpt", "t5"])
def test_perplexity_falls_and_the_result_is_an_encoder(tmp_path: Path, kind: str) -> None:
    result = pretrain(settings(kind), CORPUS, None, tmp_path)
    name = f"{OBJECTIVES[kind]}.perplexity"
    # At first every token is about as likely as another; the texts' rule is simple.
    assert result.before[name] > 0.6 * result.vocab_size
    assert result.after[name] < 0.5 * result.before[name]
    assert result.num_train == len(CORPUS.train)
    encoder = Encoder.load(EncoderSettings(str(result.model), max_tokens=32), result.model)
    vectors_ND = encoder.encode_documents(["华为手机", "红色耳机"])
    assert vectors_ND.shape == (2, 32)
    assert np.isfinite(vectors_ND).all()
    network = TextNetwork.load(result.model, 32).eval()
    assert network.pooling == ("last" if kind == "gpt" else "mean")
    with torch.no_grad():
        expected = network.embed(network.tokenize(["华为手机", "红色耳机"])).numpy()
    np.testing.assert_allclose(vectors_ND, expected, atol=1e-5)


class StoppedError(Exception):
    pass


def test_stopped_and_taken_up_it_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(epochs=2, objectives=["masked", "simcse"], dropout=0.1)
    whole = pretrain(chosen, CORPUS, None, tmp_path / "whole")
    # Words fitted again could differ by a rare one; a run that was stopped finds its own file.
    (tmp_path / "parts").mkdir()
    shutil.copyfile(tmp_path / "whole" / "words.json", tmp_path / "parts" / "words.json")
    calls = []
    own = module.MaskedLanguageTask.make_batch

    def stop(self, indices, rng):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 9:
            raise StoppedError
        return own(self, indices, rng)

    with monkeypatch.context() as patch:
        patch.setattr(module.MaskedLanguageTask, "make_batch", stop)
        with pytest.raises(StoppedError):
            pretrain(chosen, CORPUS, None, tmp_path / "parts")
    assert not (tmp_path / "parts" / "model").exists()
    parts = pretrain(chosen, CORPUS, None, tmp_path / "parts")
    assert fingerprint_model(parts.model) == fingerprint_model(whole.model)
    assert parts.trained.losses == whole.trained.losses
    assert (parts.before, parts.after) == (whole.before, whole.after)


def test_it_goes_on_from_given_weights_head_included(tmp_path: Path) -> None:
    first = pretrain(settings(epochs=6), CORPUS, None, tmp_path / "first")
    second = pretrain(settings(epochs=6), CORPUS, first.model, tmp_path / "second")
    # Nothing was lost between the two: the held-out measure goes on where it was.
    assert second.before == pytest.approx(first.after)
    assert second.after["masked.loss"] < first.after["masked.loss"]
    assert not (tmp_path / "second" / "start").exists()


def test_adapting_an_encoder_without_head(tmp_path: Path, tiny_network: Callable[..., TextNetwork]) -> None:
    result = pretrain(settings(epochs=2), CORPUS, tiny_network().folder, tmp_path)
    assert result.after["masked.loss"] < result.before["masked.loss"]
    Encoder.load(EncoderSettings(str(result.model), max_tokens=32), result.model)


def test_a_classification_task_learns_in_the_same_loop(tmp_path: Path) -> None:
    texts = CORPUS.train[:120]
    labels = [text.split(" ")[0] for text in texts]
    held_out = LabeledTexts(CORPUS.held_out, [text.split(" ")[0] for text in CORPUS.held_out])
    networks = []

    def brands(network: TextNetwork) -> list[Task]:
        networks.append(network)
        return [ClassificationTask(network, LabeledTexts(texts, labels), held_out, name="brand")]

    result = pretrain(settings(epochs=8), CORPUS, None, tmp_path, further_tasks=brands)
    assert {task for task, _ in result.trained.losses} == {"masked", "brand"}
    assert result.after["masked.perplexity"] < 0.5 * result.before["masked.perplexity"]
    assert result.after["brand.accuracy"] > 0.95 > result.before["brand.accuracy"]
    # Both trained the one network that was saved.
    saved = TextNetwork.load(result.model, 32).state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in networks[0].state_dict().items())


def test_simcse_alone_spreads_the_texts(tmp_path: Path) -> None:
    result = pretrain(settings(epochs=3, objectives=["simcse"], dropout=0.1), CORPUS, None, tmp_path)
    assert result.after["simcse.loss"] < result.before["simcse.loss"]
    assert result.after["simcse.uniformity"] < result.before["simcse.uniformity"]
    Encoder.load(EncoderSettings(str(result.model), max_tokens=32), result.model)


def test_dropout_of_tuning_is_the_architectures(tmp_path: Path) -> None:
    result = pretrain(settings(epochs=1), CORPUS, None, tmp_path)
    rates = {part.p for part in TextNetwork.load(result.model, 32).modules() if isinstance(part, torch.nn.Dropout)}
    assert rates == {0.1}


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(EmptyCorpusError, match="no text to pre-train on"):
        pretrain(settings(), Corpus(()), None, tmp_path)
    big = settings(tokenizer={"vocab_size": 5000})
    with pytest.raises(
        VocabularyTooLargeError, match=r"vocab_size is 5,000, and the \d+ texts .* give only \d+ pieces"
    ):
        pretrain(big, CORPUS, None, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["masked", "causal"]}, "masked and causal need different networks"),
        ({"objectives": ["causal"]}, "objective causal is learned by architecture.kind gpt, not bert"),
        ({"objectives": ["masked", "masked"]}, "names one twice"),
        ({"objectives": ["simcse"]}, "simcse learns from two passes that differ by dropout"),
        ({"max_tokens": 64}, "max_tokens 64 exceeds architecture.max_positions 32"),
        ({"architecture": {"hidden_size": 30, "num_heads": 4}}, "hidden_size 30 is no multiple of num_heads 4"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**changes)
    with pytest.raises(ValidationError, match=r"set tokenizer\.kind to unigram"):
        settings("t5", tokenizer={"kind": "wordpiece"})
