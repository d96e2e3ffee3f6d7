"""Pre-training on the shop's own texts, from the corpus to a registered version. It promotes nothing: an encoder is
worth what it reaches after training (`training.start: registry:NAME@VERSION`).
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsys_batch.contracts.config.pretrain import ShopPretrain
from recsys_batch.contracts.config.tracking import Tracking
from recsys_batch.contracts.identity import code_version
from recsys_batch.contracts.model_version import ModelVersion
from recsys_batch.nn.files.check import fingerprint_model
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.pretrain.corpus import Corpus, read_texts, texts_of_examples
from recsys_batch.training.pretrain.run import PretrainResult, pretrain
from recsys_batch.training.registry.versions import Registry, name_of_folder
from recsys_batch.training.shop.curves import curves_folder
from recsys_batch.training.tracking.open import open_tracker

log = logging.getLogger("recsys_batch.training")
_REGISTERED = "registered.json"
_BEFORE = "before/"
"""Put before the names of metrics that the model had before its first step."""


def pretrain_shop(
    settings: ShopPretrain,
    registry: Registry,
    start: Path | None,
    examples: ExampleFiles | None,
    tracking: Tracking,
    *,
    ds: str = "",
    device: str = "cpu",
    fresh: bool = False,
) -> ModelVersion:
    """Pre-train on the texts of part train of `examples` and of `settings.texts`; return the registered version.

    `start`: a model directory to go on from; None: from scratch. `ds` names the examples' date in the manifest. The
    same call goes on with a run that was stopped, and does nothing where it was registered; `fresh` starts over. Raises
    ExamplesNotFoundError, EmptyCorpusError, ModelVersionNotFoundError where the version was taken out of the registry
    since, and what `read_texts`, `pretrain` and `open_tracker` raise.
    """
    corpus = Corpus.from_texts(_texts(settings, examples), settings.held_out_share)
    key = _run_key(settings, corpus, start)
    folder = registry.root / settings.model / "runs" / key
    if fresh and folder.exists():
        shutil.rmtree(folder)
    noted = folder / _REGISTERED
    if noted.is_file():
        return registry.read(settings.model, json.loads(noted.read_text(encoding="utf-8"))["version"])
    curves, shown = curves_folder(registry.root, settings.model), settings.model_dump(mode="json")
    log.info("pre-training %s: %s; curves: tensorboard --logdir %s", settings.model, folder, curves)
    with open_tracker(tracking, curves, key, {"pretrain": shown, "ds": ds}, resume=not fresh) as track:
        result = pretrain(settings, corpus, start, folder, device=device, track=track)
    data = {
        "split": settings.split,
        "ds": ds,
        "files": [file.path for file in settings.texts],
        "corpus": corpus.version,
        "train": result.num_train,
        "held_out": result.num_held_out,
        "vocab_size": result.vocab_size,
    }
    version = registry.register(_describe(settings, result, data, start), result.model, {})
    noted.write_text(json.dumps({"version": version.version}), encoding="utf-8")
    for name in ("model", "start", "checkpoints"):  # what they held is in the registry
        shutil.rmtree(folder / name, ignore_errors=True)
    return version


def _texts(settings: ShopPretrain, examples: ExampleFiles | None) -> Iterator[str]:
    if examples is not None:
        yield from texts_of_examples(examples)
    for file in settings.texts:
        yield from read_texts(Path(file.path), file.columns)


def _run_key(settings: ShopPretrain, corpus: Corpus, start: Path | None) -> str:
    """Return 12 hex digits of what decides the result; where the texts come from does not, their content does."""
    where_from = {"model", "start", "start_revision", "split", "texts"}
    decides = {
        "corpus": corpus.version,
        "start": fingerprint_model(start) if start is not None else "",
        "settings": settings.model_dump(mode="json", exclude=where_from),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def _describe(settings: ShopPretrain, result: PretrainResult, data: dict[str, Any], start: Path | None) -> ModelVersion:
    trained = result.trained
    network = TextNetwork.load(result.model, settings.max_tokens)
    costs = {
        "num_parameters": float(sum(parameter.numel() for parameter in network.parameters())),
        "train_steps": float(trained.steps),
        "train_seconds": trained.seconds,
        "train_tokens_per_second": trained.tokens_per_second,
    }
    parents: tuple[str, ...] = ()
    if start is not None:
        parents = (name_of_folder(start).replace("@", "/") or fingerprint_model(start),)
    return ModelVersion(
        name=settings.model,
        kind="encoder",
        settings={"pretrain": settings.model_dump(mode="json")},
        data=data,
        metrics={**result.after, **costs, **{f"{_BEFORE}{name}": value for name, value in result.before.items()}},
        parents=parents,
        code_version=code_version(),
        seed=settings.loop.seed,
    )
