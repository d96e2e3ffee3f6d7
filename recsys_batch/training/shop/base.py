"""What every task of the shop has: how it is made of exported examples, measured on the test part, and kept."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.examples.text_sets import Augment
from recsys_batch.training.loop.preflight import EmptyTaskError
from recsys_batch.training.loop.task import Task
from recsys_batch.training.registry.versions import Cases

HEADS = "heads"
"""Folder below a model directory; one folder a task."""


@dataclass(frozen=True)
class Measured:
    """A task's metrics on the test part; names without the task's."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    cases: Mapping[str, Cases] = field(default_factory=dict)
    """Metric -> case -> value, higher is better; a metric of which lower is better has a minus before its name, and its
    values are negated."""


@dataclass(frozen=True)
class Shared:
    """What the tasks of one run have in common."""

    files: ExampleFiles
    prefixes: tuple[str, str] = ("", "")
    """Put before every query and every document where the two are compared."""
    augment: Augment | None = None
    bfloat16: bool = False
    """Mine and choose the best weights with faster arithmetic; the finished model is measured in float32."""
    seed: int = 0


class ShopTask(Protocol):
    """One task of the configuration on one encoder."""

    main_metric: str
    """Which of `Measured.cases` decides where the configuration names none; empty where there are no cases."""

    @property
    def task(self) -> Task:
        """Return what the loop trains."""

    def measure(self) -> Measured:
        """Return what the network and the head, as they are, reach on the test part; empty where it has no examples."""

    def save(self, folder: Path) -> None:
        """Keep what belongs to the task alone below the model directory `folder`; nothing where there is no head."""


def need_examples(name: str, number: int, table: str) -> None:
    """Raise EmptyTaskError where a task has nothing to learn from."""
    if not number:
        raise EmptyTaskError(
            f"task {name!r}: the dataset's part train has no usable {table}; learn from another date or split, or take "
            "the task out of training.tasks"
        )


def head_folder(model: Path, name: str) -> Path:
    """Return where a finished model keeps the head of a task. Raises ConfigError where it has none."""
    folder = model / HEADS / name
    if not folder.is_dir():
        raise ConfigError(
            f"{model} was not trained for the task {name!r}; compare by a metric that both versions have "
            "(training.promotion.metric), or promote by hand"
        )
    return folder


def name_cases(texts: Sequence[str]) -> list[str]:
    """Return a short name for each text that another version finds again; equal texts are numbered."""
    seen: Counter[str] = Counter()
    names = []
    for text in texts:
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        seen[name] += 1
        names.append(f"{name}#{seen[name]}" if seen[name] > 1 else name)
    return names


def pair_up(names: Sequence[str], values: NDArray[np.floating]) -> dict[str, float]:
    """Return case -> value without those that are NaN, which say nothing."""
    return {name: float(value) for name, value in zip(names, values, strict=True) if not np.isnan(value)}
