"""Masked, causal and denoising tasks: what is asked for, losses against transformers and by arithmetic."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch

from recsys_batch.contracts.config.pretrain import Architecture
from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.learning.language_model import LanguageKind, LanguageModel
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.loop.task import trainable_parameters
from recsys_batch.training.pretrain.causal_language import CausalLanguageTask
from recsys_batch.training.pretrain.masked_language import MaskedLanguageTask
from recsys_batch.training.pretrain.new_model import new_model
from recsys_batch.training.pretrain.simcse import SimCseTask
from recsys_batch.training.pretrain.span_denoising import SpanDenoisingTask
from recsys_batch.training.pretrain.tokenizers import load_tokenizer, sentinel, train_unigram, train_wordpiece
from recsys_batch.training.pretrain.words import WordSplitter
from tests.training.small_corpus import shop_texts

TEXTS = shop_texts(60)
LONG = " ".join(TEXTS[:8])
Models = Callable[[str], LanguageModel]
OBJECTIVES: dict[str, LanguageKind] = {"bert": "masked", "gpt": "causal", "t5": "denoising"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    for kind in OBJECTIVES:
        tokenizer = train_wordpiece(TEXTS, 400) if kind == "bert" else train_unigram(TEXTS, 300, begin=kind == "gpt")
        shape = Architecture(kind=kind, hidden_size=16, num_layers=2, num_heads=2, max_positions=40)
        new_model(shape, tokenizer, root / kind, seed=0)
    return {kind: root / kind for kind in OBJECTIVES}


@pytest.fixture
def load(folders: dict[str, Path]) -> Models:
    return lambda kind: LanguageModel.load(folders[kind], OBJECTIVES[kind], 40)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def all_of(task: object) -> np.ndarray:
    return np.arange(len(task))  # type: ignore[arg-type]


def test_masked_labels_are_what_was_hidden(load: Models) -> None:
    task = MaskedLanguageTask(load("bert"), [*TEXTS, LONG], share=0.3)
    tokenizer = load_tokenizer(task.module.network.folder)
    batch = task.make_batch(all_of(task), rng())
    mask_id, num_hidden, at = tokenizer.token_to_id("[MASK]"), 0, 0
    restored = []
    for part in batch.inputs.parts:
        ids_BL, num = part.text.ids_BL.clone(), len(part.row_T)
        assert (ids_BL[part.row_T, part.token_T] == mask_id).float().mean() > 0.6
        assert ((ids_BL == mask_id).sum() <= num).all()  # nothing else is masked
        ids_BL[part.row_T, part.token_T] = batch.inputs.labels_T[at : at + num]
        restored += [row[found].tolist() for row, found in zip(ids_BL, part.text.mask_BL, strict=True)]
        at += num
        num_hidden += num
    assert batch.count == num_hidden == at
    whole = [tokenizer.encode(text).ids for text in TEXTS]
    assert all(ids in restored for ids in whole)
    # Every text hides round(0.3 * its tokens); the long one is cut into pieces that are full but for the last.
    lengths = [len(ids) - 2 for ids in restored]
    assert num_hidden == sum(max(1, round(0.3 * length)) for length in lengths)
    assert sum(lengths) == sum(len(ids) - 2 for ids in whole) + len(tokenizer.encode(LONG).ids) - 2


def test_words_are_hidden_together(load: Models) -> None:
    pieces = [("[UNK]", 0.0), *((word, -1.0) for word in ("华为", "红色", "手机", "平板电脑"))]
    words = WordSplitter(tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=0)))
    assert words.words("华为红色手机") == ["华为", "红色", "手机"]
    model = load("bert")
    tokenizer = load_tokenizer(model.network.folder)
    task = MaskedLanguageTask(model, ["华为 huawei 红色平板电脑 abcdefgh"], share=0.2, words=words)
    pieces = tokenizer.encode("abcdefgh").tokens
    assert len(pieces) > 3  # [CLS] a ##b ... [SEP]
    ids = tokenizer.encode("华为 huawei 红色平板电脑 abcdefgh")
    spans = {"华为": 2, "红色": 2, "平板电脑": 4, "huawei": len(tokenizer.encode("huawei").ids) - 2}
    spans["abcdefgh"] = len(pieces) - 2
    groups, place = [], 1
    for word in ("华为", "huawei", "红色", "平板电脑", "abcdefgh"):
        groups.append(set(range(place, place + spans[word])))
        place += spans[word]
    assert place == len(ids.ids) - 1
    seen = set()
    for seed in range(40):
        (part,) = task.make_batch(np.array([0]), rng(seed)).inputs.parts
        hidden = set(part.token_T.tolist())
        for number, group in enumerate(groups):
            assert group <= hidden or not group & hidden
            seen |= {number} if group <= hidden else set()
    assert seen == {0, 1, 2, 3, 4}


def test_a_uniform_model_loses_log_vocabulary(load: Models) -> None:
    for kind, make in (("bert", MaskedLanguageTask), ("gpt", CausalLanguageTask), ("t5", SpanDenoisingTask)):
        model = load(kind)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        found = make(model, TEXTS[:40], TEXTS[40:]).evaluate()
        assert found["loss"] == pytest.approx(math.log(model.vocab_size), abs=1e-4)
        assert found["perplexity"] == pytest.approx(model.vocab_size, rel=1e-3)


def test_evaluations_hide_the_same_whatever_went_before(load: Models) -> None:
    first = MaskedLanguageTask(load("bert"), TEXTS[:40], TEXTS[40:])
    expected = first.evaluate()
    first.module.train()
    first.make_batch(all_of(first), rng())
    assert first.evaluate() == expected
    assert first.module.training
    assert MaskedLanguageTask(load("bert"), TEXTS[:10], TEXTS[40:]).evaluate() == expected
    assert MaskedLanguageTask(load("bert"), TEXTS[:10], TEXTS[40:], seed=1).evaluate() != expected
    assert MaskedLanguageTask(load("bert"), TEXTS[:10]).evaluate() == {}


def test_masked_loss_is_transformers_own(load: Models) -> None:
    task = MaskedLanguageTask(load("bert"), TEXTS)
    task.module.eval()
    batch = task.make_batch(all_of(task)[:9], rng())
    (part,) = batch.inputs.parts
    labels_BL = torch.full_like(part.text.ids_BL, -100)
    labels_BL[part.row_T, part.token_T] = batch.inputs.labels_T
    own = task.module.whole(input_ids=part.text.ids_BL, attention_mask=part.text.mask_BL.long(), labels=labels_BL).loss
    torch.testing.assert_close(task.loss(task.outputs(batch), batch) / batch.count, own)


def test_causal_loss_is_transformers_own(load: Models) -> None:
    task = CausalLanguageTask(load("gpt"), [*TEXTS[:9], "abc"])
    task.module.eval()
    batch = task.make_batch(all_of(task), rng())
    (part,) = batch.inputs.parts
    text = part.text
    own = task.module.whole(
        input_ids=text.ids_BL,
        attention_mask=text.mask_BL.long(),
        labels=text.ids_BL.masked_fill(~text.mask_BL, -100),
    ).loss
    assert batch.count == text.num_tokens - len(text.ids_BL)
    torch.testing.assert_close(task.loss(task.outputs(batch), batch) / batch.count, own)


def test_denoising_loss_is_transformers_own_and_spans_go_back(load: Models) -> None:
    task = SpanDenoisingTask(load("t5"), TEXTS[:9], share=0.4, mean_span=2.0)
    task.module.eval()
    batch = task.make_batch(all_of(task), rng())
    text, targets = batch.inputs.text, batch.inputs.targets
    own = task.module.whole(
        input_ids=text.ids_BL,
        attention_mask=text.mask_BL.long(),
        labels=targets.ids_BL.masked_fill(~targets.mask_BL, -100),
    ).loss
    assert batch.count == targets.num_tokens
    torch.testing.assert_close(task.loss(task.outputs(batch), batch) / batch.count, own)
    tokenizer = load_tokenizer(task.module.network.folder)
    marks = {tokenizer.token_to_id(sentinel(number)) for number in range(100)}
    restored = []
    for ids_L, target_L in zip(text.ids_BL, targets.ids_BL, strict=True):
        spans: dict[int, list[int]] = {}
        for token in target_L.tolist():
            if token in marks:
                spans[token] = []
            else:
                spans[list(spans)[-1]].append(token)
        restored.append(tokenizer.decode([one for token in ids_L.tolist() for one in spans.get(token, [token])]))
    assert sorted(restored) == sorted(TEXTS[:9])


@pytest.mark.parametrize("kind", ["bert", "gpt", "t5"])
def test_gradients_reach_every_weight(load: Models, kind: str) -> None:
    make = {"bert": MaskedLanguageTask, "gpt": CausalLanguageTask, "t5": SpanDenoisingTask}[kind]
    task = make(load(kind), TEXTS)
    batch = task.make_batch(all_of(task), rng())
    outputs = task.outputs(batch)
    task.loss(outputs, batch).backward()
    gradients = {name: parameter.grad for name, parameter in trainable_parameters([task]).items()}
    # Segments are all the first one.
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values()), gradients.keys()
    assert task.divergence(outputs, outputs, batch).detach() == 0


def test_simcse_by_hand(tiny_network: Callable[..., TextNetwork]) -> None:
    texts = ["red shoes", "blue mug", "华为手机", "red shoes"]
    task = SimCseTask(tiny_network(), texts, texts, temperature=0.1)
    assert len(task) == 4
    batch = task.make_batch(np.arange(4), rng())
    assert batch.count == 3  # equal texts once
    task.module.eval()
    vectors_BH = task.module.embed(task.module.tokenize(texts[:3])).detach()
    outputs = task.outputs(batch).detach()
    torch.testing.assert_close(outputs.diagonal(), torch.ones(3), atol=1e-5, rtol=0)  # no dropout, the same vectors
    cosines_BB = vectors_BH @ vectors_BH.T / 0.1
    expected = -(cosines_BB.diagonal() - cosines_BB.logsumexp(1)).sum()
    torch.testing.assert_close(task.loss(outputs, batch), expected, atol=1e-4, rtol=1e-4)
    distances = torch.pdist(vectors_BH)
    found = task.evaluate()
    assert found["uniformity"] == pytest.approx(float((-2 * distances**2).exp().mean().log()), abs=1e-5)
    assert task.evaluate() == found
    task.module.train()
    assert not torch.equal(*(task.outputs(batch).detach() for _ in range(2)))  # dropout


def test_tokenizers_that_lack_what_is_needed(folders: dict[str, Path], load: Models) -> None:
    with pytest.raises(ModelFilesError, match="has no sentinel tokens"):
        SpanDenoisingTask(load("bert"), TEXTS)
    file = folders["bert"] / "tokenizer.json"
    whole = file.read_text(encoding="utf-8")
    try:
        file.write_text(whole.replace("[MASK]", "[HIDE]"), encoding="utf-8")
        with pytest.raises(ModelFilesError, match=r"has no mask token .*use another objective"):
            MaskedLanguageTask(load("bert"), TEXTS)
    finally:
        file.write_text(whole, encoding="utf-8")
    with pytest.raises(ValueError, match="between 0 and 1, not 1"):
        MaskedLanguageTask(load("bert"), TEXTS, share=1)
