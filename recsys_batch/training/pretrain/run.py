"""Pre-training on a shop's own texts: from scratch, or going on from given weights (domain-adaptive).

`pretrain` leaves below its folder: `start/` (the new network before its first step), `words.json` (the corpus's words),
`checkpoints/`, and `model/`, which `nn.Encoder` loads, and `pretrain` itself as `start` of a later run.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from torch import nn

from recsys_batch.contracts.config.pretrain import Pretrain, PretrainTokenizer
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.learning.language_model import LanguageModel
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.loop.run import Tracker, TrainResult, train
from recsys_batch.training.loop.task import Task
from recsys_batch.training.pretrain.causal_language import CausalLanguageTask
from recsys_batch.training.pretrain.corpus import Corpus, EmptyCorpusError
from recsys_batch.training.pretrain.masked_language import MaskedLanguageTask
from recsys_batch.training.pretrain.new_model import new_model
from recsys_batch.training.pretrain.simcse import SimCseTask
from recsys_batch.training.pretrain.span_denoising import SpanDenoisingTask
from recsys_batch.training.pretrain.tokenizers import train_unigram, train_wordpiece
from recsys_batch.training.pretrain.words import WordSplitter

FurtherTasks = Callable[[TextNetwork], Sequence[Task]]
_ENOUGH = 0.95
"""Unigram's trainer prunes to about the size asked for, never to it exactly."""


class VocabularyTooLargeError(ConfigError):
    """The corpus has not as many pieces as the tokenizer should have."""


@dataclass(frozen=True)
class PretrainResult:
    """What a pre-training run made."""

    model: Path
    """Model directory: encoder, head of the language objective, tokenizer, pooling."""
    trained: TrainResult
    before: dict[str, float]
    """Held-out metrics of all tasks before the first step, as `task.metric`."""
    after: dict[str, float]
    vocab_size: int
    num_train: int
    num_held_out: int


def pretrain(
    settings: Pretrain,
    corpus: Corpus,
    start: Path | None,
    folder: Path,
    *,
    further_tasks: FurtherTasks | None = None,
    device: str = "cpu",
    track: Tracker | None = None,
) -> PretrainResult:
    """Learn the objectives on the corpus, and `further_tasks` of the same encoder beside them, in one loop.

    `start`: a model directory to go on from; None makes a new network and tokenizer. A run that was stopped goes on
    from its checkpoints in `folder`. Raises EmptyCorpusError, VocabularyTooLargeError, ModelFilesError where the
    tokenizer lacks what an objective needs (mask, sentinels), and what `train` raises.
    """
    if not corpus.train:
        raise EmptyCorpusError("the corpus has no text to pre-train on; check its sources")
    folder.mkdir(parents=True, exist_ok=True)
    begin = start if start is not None else _make_start(settings, corpus, folder / "start")
    network, objectives, model = _make_objectives(settings, corpus, begin, folder)
    if settings.dropout is not None:
        _set_dropout(model or network, settings.dropout)
    tasks = [*objectives, *(further_tasks(network) if further_tasks else ())]
    before = _measure(tasks, device)
    trained = train(
        tasks, settings.loop, folder / "checkpoints", device=device, track=track, data_version=corpus.version
    )
    after = _measure(tasks, device)
    target, staged = folder / "model", folder / ".model.staged"
    for old in (staged, target):
        shutil.rmtree(old, ignore_errors=True)
    (model or network).save(staged)
    staged.rename(target)
    return PretrainResult(
        model=target,
        trained=trained,
        before=before,
        after=after,
        vocab_size=int(network.model.config.vocab_size),  # type: ignore[union-attr, arg-type]
        num_train=len(corpus.train),
        num_held_out=len(corpus.held_out),
    )


def fit_tokenizer(settings: Pretrain, texts: Sequence[str]) -> tokenizers.Tokenizer:
    """Return a tokenizer of the configured kind and size. Raises VocabularyTooLargeError."""
    wanted, kind = settings.tokenizer, tokenizer_kind(settings)
    if kind == "wordpiece":
        found = train_wordpiece(texts, wanted.vocab_size, wanted.min_frequency)
    else:
        found = train_unigram(texts, wanted.vocab_size, begin=settings.architecture.kind == "gpt")
    _check_size(found, wanted, len(texts))
    return found


def tokenizer_kind(settings: Pretrain) -> str:
    """Return which tokenizer `auto` stands for."""
    if settings.tokenizer.kind != "auto":
        return settings.tokenizer.kind
    return "wordpiece" if settings.architecture.kind == "bert" else "unigram"


def _check_size(found: tokenizers.Tokenizer, wanted: PretrainTokenizer, num_texts: int) -> None:
    size = found.get_vocab_size()
    if size < _ENOUGH * wanted.vocab_size:
        raise VocabularyTooLargeError(
            f"tokenizer.vocab_size is {wanted.vocab_size:,}, and the {num_texts:,} texts of the corpus give only "
            f"{size:,} pieces; lower it, or pre-train on more texts"
        )


def _make_start(settings: Pretrain, corpus: Corpus, folder: Path) -> Path:
    if not folder.is_dir():
        staged = folder.with_name(f".{folder.name}.staged")
        shutil.rmtree(staged, ignore_errors=True)
        new_model(settings.architecture, fit_tokenizer(settings, corpus.train), staged, settings.loop.seed)
        staged.rename(folder)
    return folder


def _make_objectives(
    settings: Pretrain, corpus: Corpus, begin: Path, folder: Path
) -> tuple[TextNetwork, list[Task], LanguageModel | None]:
    """Return the encoder, the objectives' tasks on it, and the language model around it where there is one."""
    held_out, masking = corpus.held_out[: settings.max_held_out], settings.masking
    seed = settings.loop.seed
    model: LanguageModel | None = None
    tasks: list[Task] = []
    for objective in settings.objectives:
        if objective == "simcse":
            continue
        model = LanguageModel.load(begin, objective, settings.max_tokens, seed=seed)
        if objective == "masked":
            words = _words(corpus, folder / "words.json", settings) if masking.whole_word else None
            tasks.append(MaskedLanguageTask(model, corpus.train, held_out, share=masking.share, words=words, seed=seed))
        elif objective == "causal":
            tasks.append(CausalLanguageTask(model, corpus.train, held_out))
        else:
            share, span = masking.share, masking.mean_span
            tasks.append(SpanDenoisingTask(model, corpus.train, held_out, share=share, mean_span=span, seed=seed))
    network = model.network if model is not None else TextNetwork.load(begin, settings.max_tokens)
    if "simcse" in settings.objectives:
        tasks.append(SimCseTask(network, corpus.train, held_out, temperature=settings.temperature, seed=seed))
    return network, tasks, model


def _words(corpus: Corpus, file: Path, settings: Pretrain) -> WordSplitter:
    if not file.is_file():
        staged = file.with_name(f".{file.name}.staged")
        WordSplitter.fit(corpus.train, settings.masking.num_words).save(staged)
        staged.rename(file)
    return WordSplitter.load(file)


def _set_dropout(module: nn.Module, share: float) -> None:
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = share


def _measure(tasks: Sequence[Task], device: str) -> dict[str, float]:
    for task in tasks:
        task.module.to(device)
    return {f"{task.name}.{name}": float(value) for task in tasks for name, value in task.evaluate().items()}
