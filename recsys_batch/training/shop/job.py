"""What one training run is made of, as settings and paths that any process can be sent, and what came of it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsys_batch.contracts.config.block import Block
from recsys_batch.contracts.config.models import Training
from recsys_batch.contracts.config.tasks import (
    Anchor,
    Classification,
    ClickRanking,
    ItemRetrieval,
    QueryRetrieval,
    RatingRegression,
    Tagging,
    TaskBlock,
)
from recsys_batch.contracts.datasets import SPLITS
from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.contracts.example_schemas import ExampleTables
from recsys_batch.nn.encoder.pooling import PoolingName
from recsys_batch.nn.files.check import fingerprint_model
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.registry.versions import Cases
from recsys_batch.training.shop.anchor import AnchorTask
from recsys_batch.training.shop.base import Shared, ShopTask
from recsys_batch.training.shop.clicks import ClickTask
from recsys_batch.training.shop.retrieval import SearchTask, SimilarTask
from recsys_batch.training.shop.texts import CategoryTask, RatingTask, TagTask

CHECKPOINTS, MODEL = "checkpoints", "model"
_OUTCOME, _CASES = "outcome.json", "cases.json"
# They change where and when something is kept, or what becomes of it, never what is learned.
_NO_PART_OF_A_RESULT = {"registry", "promotion", "device"}
_KINDS: Mapping[type[Block], Callable[..., ShopTask]] = {
    Classification: CategoryTask,
    RatingRegression: RatingTask,
    ClickRanking: ClickTask,
    QueryRetrieval: SearchTask,
    ItemRetrieval: SimilarTask,
    Tagging: TagTask,
    Anchor: AnchorTask,
}


@dataclass(frozen=True)
class TrainingJob:
    """A run. Its paths are the same in every process that takes part."""

    examples: str
    """Folder or URI that `spark.training_data.export_examples` returned."""
    data_version: str
    """Says which examples these are, by their content."""
    start: str
    """Model directory to start from."""
    runs: str
    """Folder that holds a folder a run."""
    settings: Training
    max_tokens: int
    pooling: PoolingName
    prefixes: tuple[str, str] = ("", "")
    """Put before queries and documents in retrieval."""
    device: str = "cpu"
    """`cpu` or `cuda`; with several processes each takes the GPU of its local rank."""

    @property
    def key(self) -> str:
        """Return 12 hex digits of everything that decides the result: the same key goes on with the same run."""
        decides = {
            "data": self.data_version,
            "start": fingerprint_model(Path(self.start)),
            "settings": self.settings.model_dump(mode="json", exclude=_NO_PART_OF_A_RESULT),
            "encoder": [self.max_tokens, self.pooling, *self.prefixes],
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Return where the run keeps its checkpoints and leaves its model."""
        return Path(self.runs) / self.key


@dataclass(frozen=True)
class Outcome:
    """What a finished run reached. Metrics are `task.metric` on the test part."""

    examples: Mapping[str, int]
    """Task -> training examples."""
    before: Mapping[str, float]
    """With the model that the run started from, and heads of random weights."""
    after: Mapping[str, float]
    main_metrics: Mapping[str, str]
    """Task -> what its versions are compared by, in the order of the tasks; anchors have none."""
    costs: Mapping[str, float]
    """`num_parameters`, `texts_per_second` of the finished encoder on this device, steps and seconds of training."""


def write_outcome(folder: Path, outcome: Outcome, cases: Mapping[str, Cases]) -> None:
    """Leave the results in the run's folder; the outcome last, since it says that the model is whole."""
    for name, content in ((_CASES, cases), (_OUTCOME, asdict(outcome))):
        staged = folder / f".{name}"
        staged.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        staged.rename(folder / name)


def read_outcome(folder: Path) -> Outcome | None:
    """Return what the run in `folder` reached; None where it is not finished. Raises ModelFilesError on a damaged
    file.
    """
    file = folder / _OUTCOME
    if not file.is_file():
        return None
    try:
        return Outcome(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ModelFilesError(f"{file} cannot be read ({error}); train again with --fresh") from error


def read_cases(folder: Path) -> dict[str, dict[str, float]]:
    """Return metric -> case -> value of a finished run."""
    found: dict[str, dict[str, float]] = json.loads((folder / _CASES).read_text(encoding="utf-8"))
    return found


def open_task(settings: TaskBlock, shared: Shared, network: TextNetwork, model: Path | None = None) -> ShopTask:
    """Make a task of the configuration on a network.

    With `model`, a finished model directory, its head is taken from there and the task only measures. Raises
    EmptyTaskError, LabelOutOfRangeError and what reading its files raises.
    """
    return _KINDS[type(settings)](settings, shared, network, model)


def version_examples(hashes: Mapping[str, Any], examples: ExampleFiles, files: Sequence[str]) -> str:
    """Return 16 hex digits that say which examples a run learns from and is measured on.

    `hashes` are those of the dataset's manifest; `examples` adds the items, which it does not cover, and `files` what
    tasks read besides.
    """
    digest = hashlib.sha256(json.dumps(hashes, sort_keys=True, default=str).encode())
    for part in SPLITS:
        items = examples.read(ExampleTables.ITEMS, part)
        for row in zip(*(items[name].to_pylist() for name in items.schema.names), strict=True):
            digest.update(repr((part, *row)).encode("utf-8", "surrogatepass"))
    for file in files:
        digest.update(Path(file).read_bytes() if Path(file).is_file() else b"")
    return digest.hexdigest()[:16]
