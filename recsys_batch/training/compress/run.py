"""Makes an encoder smaller and faster: a student is cut out, distilled, pruned, and measured beside its teacher.

Every model that a step makes is kept under the folder, by everything it was made from: a run that was stopped goes on
where it was, and one that was finished trains nothing again.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recsys_batch.contracts.config.compress import CompressionSteps
from recsys_batch.contracts.config.training import Loop
from recsys_batch.contracts.errors import InputNotReadyError
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.learning.student import make_student
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.compress.pruning import holding, prune
from recsys_batch.training.compress.result import CompressedModel, Compression, Measure, measure_models
from recsys_batch.training.compress.teacher_vectors import Corpus, teacher_vectors
from recsys_batch.training.loop.run import Tracker, train
from recsys_batch.training.tasks.distillation import DistillationTask, TaughtTexts
from recsys_batch.training.tasks.matryoshka import MatryoshkaTask

_TEXTS_FOR_AXES = 2000


class TooFewTextsError(InputNotReadyError):
    """There are no texts left to learn from beside those that are held out."""


@dataclass(frozen=True)
class _Run:
    """What all steps share."""

    settings: CompressionSteps
    teacher: Path
    teacher_fingerprint: str
    train: TaughtTexts
    held_out: TaughtTexts
    folder: Path
    device: str
    track: Tracker | None


def compress(
    settings: CompressionSteps,
    teacher: Path,
    corpus: Corpus,
    folder: Path,
    measure: Measure,
    *,
    device: str = "cpu",
    track: Tracker | None = None,
) -> Compression:
    """Make the student of a model directory, prune it where that is set, and measure all of them.

    `measure` tells an encoder's quality, case by case. Vectors, checkpoints and models are kept under `folder`.

    Raises TooFewTextsError, ConfigError where sizes do not fit the teacher, ModelFilesError where it cannot be read.
    """
    base = EncoderSettings(str(teacher), max_tokens=settings.max_tokens, dtype=settings.dtype)
    encoder = Encoder.load(base, teacher, device)
    texts = corpus.texts(encoder)
    if len(texts) < settings.held_out + 2:
        raise TooFewTextsError(
            f"{len(texts)} distinct texts, {settings.held_out} of them held out: too few to learn from; give more, or "
            "lower held_out"
        )
    vectors_NK = teacher_vectors(encoder, texts, folder)
    held_out, rest = _split(texts, vectors_NK, settings)
    run = _Run(settings, teacher, encoder.fingerprint, rest, held_out, folder, device, track)
    models = {"student": _make_student(run)}
    if settings.pruning.is_active:
        models["pruned"] = _make_pruned(run, models["student"])
    agreement = {name: _agreement_of(model) for name, model in models.items()}
    speed_texts = corpus.documents[: settings.speed_texts]
    variants = [
        CompressedModel("teacher", teacher, base),
        *(variant for name, model in models.items() for variant in _variants(name, model, base, settings)),
    ]
    return Compression(tuple(measure_models(variants, measure, speed_texts, device)), agreement)


def _split(texts: list[str], vectors_NK: np.ndarray, settings: CompressionSteps) -> tuple[TaughtTexts, TaughtTexts]:
    order = np.random.default_rng(settings.seed).permutation(len(texts))
    held_out, rest = np.sort(order[: settings.held_out]), np.sort(order[settings.held_out :])
    first, second = (TaughtTexts([texts[i] for i in rows], vectors_NK[rows]) for rows in (held_out, rest))
    return first, second


def _make_student(run: _Run) -> Path:
    """Return the folder of the distilled student."""
    steps = run.settings
    made_from = [steps.student, steps.distillation, steps.matryoshka, steps.seed, steps.max_tokens, steps.held_out]
    place = run.folder / f"student-{_digest(run, made_from)}"
    if not (place / "model").is_dir():
        _clear(place / "start")
        examples = run.train.texts[:: max(1, len(run.train) // _TEXTS_FOR_AXES)]
        make_student(run.teacher, place / "start", steps.student, examples, steps.max_tokens)
        network = TextNetwork.load(place / "start", steps.max_tokens)
        _learn(run, network, steps.distillation.loop, place)
    return place / "model"


def _make_pruned(run: _Run, student: Path) -> Path:
    """Return the folder of the student pruned and distilled again."""
    steps = run.settings
    made_from = [steps.pruning, steps.distillation, steps.matryoshka, steps.seed, student.parent.name]
    place = run.folder / f"pruned-{_digest(run, made_from)}"
    if not (place / "model").is_dir():
        network = TextNetwork.load(student, steps.max_tokens)
        with holding(network, prune(network, steps.pruning)):
            _learn(run, network, steps.pruning.loop, place)
    return place / "model"


def _learn(run: _Run, network: TextNetwork, loop: Loop, place: Path) -> None:
    """Train the network on the teacher's vectors; write it with how near it came, the folder's name last."""
    steps = run.settings
    if not steps.distillation.train_embeddings:
        _freeze_embeddings(network)
    task = DistillationTask(network, run.train, steps.distillation, run.held_out, bfloat16=loop.precision == "bfloat16")
    wanted = steps.matryoshka.by_dimension
    learned = MatryoshkaTask(task, {network.dim: 1.0} | wanted) if wanted else task
    train([learned], loop, place / "checkpoints", device=run.device, track=run.track, data_version=place.name)
    _clear(place / "unfinished")
    network.save(place / "unfinished")
    found = learned.evaluate()
    (place / "agreement.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (place / "unfinished").rename(place / "model")
    shutil.rmtree(place / "checkpoints")


def _freeze_embeddings(network: TextNetwork) -> None:
    for name, parameter in network.model.named_parameters():
        parameter.requires_grad = not name.startswith("embeddings.")


def _variants(name: str, model: Path, base: EncoderSettings, settings: CompressionSteps) -> Iterable[CompressedModel]:
    own = replace(base, model=str(model))
    yield CompressedModel(name, model, own)
    for dim in settings.matryoshka.dimensions:
        yield CompressedModel(f"{name}[dim={dim}]", model, replace(own, dimensions=dim))
    if settings.int8.is_tried:
        reduced = replace(own, backend="openvino_int8", min_cosine=settings.int8.min_cosine)
        yield CompressedModel(f"{name}[int8]", model, reduced)


def _agreement_of(model: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((model.parent / "agreement.json").read_text(encoding="utf-8"))
    return found


def _digest(run: _Run, made_from: list[object]) -> str:
    parts = [getattr(part, "model_dump_json", lambda part=part: json.dumps(part))() for part in made_from]
    digest = hashlib.sha256("\0".join([run.teacher_fingerprint, *parts]).encode())
    digest.update("\0".join([*run.train.texts, "", *run.held_out.texts]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:12]


def _clear(folder: Path) -> None:
    """Remove what a run that was killed left behind."""
    if folder.is_dir():
        shutil.rmtree(folder)
