"""Networks from scratch, of three architectures: deterministic, and encoders as soon as they are written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_batch.contracts.config.pretrain import Architecture
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.encoder.pooling import read_pooling
from recsys_batch.nn.files.check import fingerprint_model
from recsys_batch.nn.learning.language_model import LanguageKind, LanguageModel
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.pretrain.new_model import new_model
from recsys_batch.training.pretrain.tokenizers import train_unigram, train_wordpiece
from tests.training.small_corpus import shop_texts

KINDS: list[tuple[str, LanguageKind]] = [("bert", "masked"), ("gpt", "causal"), ("t5", "denoising")]
TEXTS = shop_texts(60)


TOKENIZERS = {
    "bert": train_wordpiece(TEXTS, 400),
    "gpt": train_unigram(TEXTS, 300, begin=True),
    "t5": train_unigram(TEXTS, 300),
}


def make(kind: str, folder: Path, seed: int = 0) -> Path:
    shape = Architecture(kind=kind, hidden_size=16, num_layers=2, num_heads=2, feed_forward=24, max_positions=40)
    new_model(shape, TOKENIZERS[kind], folder, seed)
    return folder


@pytest.mark.parametrize(("kind", "_objective"), KINDS)
def test_the_seed_decides_and_torchs_own_generator_is_left_alone(tmp_path: Path, kind: str, _objective: str) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = fingerprint_model(make(kind, tmp_path / "first"))
    assert torch.equal(torch.rand(1), expected)
    assert fingerprint_model(make(kind, tmp_path / "again")) == first
    assert fingerprint_model(make(kind, tmp_path / "other", seed=1)) != first


@pytest.mark.parametrize(("kind", "objective"), KINDS)
def test_it_is_an_encoder_and_a_language_model_of_the_same_states(
    tmp_path: Path, kind: str, objective: LanguageKind
) -> None:
    folder = make(kind, tmp_path / "model")
    assert read_pooling(folder) == ("last" if kind == "gpt" else "mean")
    encoder = Encoder.load(EncoderSettings(str(folder), max_tokens=32), folder)
    model = LanguageModel.load(folder, objective, 32).eval()
    vectors_ND = encoder.encode_documents(TEXTS[:7])
    assert vectors_ND.shape == (7, 16)
    with torch.no_grad():
        np.testing.assert_allclose(
            vectors_ND, model.network.embed(model.network.tokenize(TEXTS[:7])).numpy(), atol=1e-5
        )
    # By hand: the mean of the states, or the state of the last token.
    states_LH = model.network.states(model.network.tokenize(TEXTS[:1]))[0].detach()
    pooled_H = states_LH[-1] if kind == "gpt" else states_LH.mean(0)
    np.testing.assert_allclose(vectors_ND[0], (pooled_H / pooled_H.norm()).numpy(), atol=1e-5)


@pytest.mark.parametrize(("kind", "objective"), KINDS)
def test_head_and_encoder_survive_a_save(tmp_path: Path, kind: str, objective: LanguageKind) -> None:
    model = LanguageModel.load(make(kind, tmp_path / "model"), objective, 32)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.01)
    model.save(tmp_path / "saved")
    again = LanguageModel.load(tmp_path / "saved", objective, 32)
    theirs = again.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())
    encoder = Encoder.load(EncoderSettings(str(tmp_path / "saved"), max_tokens=32), tmp_path / "saved")
    with torch.no_grad():
        expected = model.eval().network.embed(model.network.tokenize(TEXTS[:5])).numpy()
    np.testing.assert_allclose(encoder.encode_documents(TEXTS[:5]), expected, atol=1e-5)
    # An encoder that was tuned alone is saved without the head, and loads as well.
    TextNetwork.load(tmp_path / "saved", 32).save(tmp_path / "alone")
    alone = Encoder.load(EncoderSettings(str(tmp_path / "alone"), max_tokens=32), tmp_path / "alone")
    np.testing.assert_allclose(alone.encode_documents(TEXTS[:5]), expected, atol=1e-5)


def test_embeddings_are_tied_to_the_head(tmp_path: Path) -> None:
    for kind, objective in KINDS[:2]:
        model = LanguageModel.load(make(kind, tmp_path / kind), objective, 32)
        embeddings = model.network.model.get_input_embeddings().weight
        assert model.whole.get_output_embeddings().weight is embeddings


def test_a_missing_head_starts_by_the_seed(tiny_network: Callable[..., TextNetwork]) -> None:
    folder = tiny_network().folder  # a BERT without head
    first, again, other = (LanguageModel.load(folder, "masked", 32, seed=seed).state_dict() for seed in (0, 0, 1))
    name = "whole.cls.predictions.transform.dense.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    theirs = tiny_network().state_dict()
    assert all(torch.equal(first[f"network.{name}"], tensor) for name, tensor in theirs.items())


def test_logits_of_states_are_those_of_the_whole_model(tmp_path: Path) -> None:
    for kind, objective in KINDS[:2]:
        model = LanguageModel.load(make(kind, tmp_path / kind), objective, 32).eval()
        text = model.network.tokenize(TEXTS[:3])
        with torch.no_grad():
            expected = model.whole(input_ids=text.ids_BL, attention_mask=text.mask_BL.long()).logits
            found = model.token_logits(model.network.states(text)[text.mask_BL])
        torch.testing.assert_close(found, expected[text.mask_BL])


def test_wrong_objectives_and_full_folders_are_refused(tmp_path: Path) -> None:
    folder = make("gpt", tmp_path / "gpt")
    with pytest.raises(ConfigError, match=r"'gpt2'.*cannot be pre-trained with objective 'masked'"):
        LanguageModel.load(folder, "masked", 32)
    with pytest.raises(ConfigError, match="is not empty"):
        make("gpt", folder)
