"""Settings of the jobs that make models: where they are registered, what they learn from, what makes a champion."""

from typing import Literal

from pydantic import Field, model_validator

from recsys_batch.contracts.config.adapters import Adapter
from recsys_batch.contracts.config.block import Block
from recsys_batch.contracts.config.tasks import Anchor, AugmentSettings, TaskBlock
from recsys_batch.contracts.config.training import Loop

MODEL_NAME = r"^[A-Za-z_][\w-]*$"
ANCHOR_ALONE = "training.tasks: an anchor alone learns nothing; name a task of another kind beside it"
"""What a run of no other kind is told."""


class Promotion(Block):
    """When a new version becomes the champion."""

    automatic: bool = True
    """Whether a training job moves the champion at all."""
    metric: str = ""
    """`task.metric` that both versions are compared by, higher is better (`-task.metric`: lower); one that is measured
    case by case (docs/training.md). Empty: that of the first task that is no anchor."""
    tolerance: float = Field(0.0, ge=0)
    """In the metric's unit: how much worse a version may be, by the 95% interval of the paired difference."""
    min_cases: int = Field(30, ge=2)
    """Fewer common cases than this prove nothing."""


class Training(Block):
    """What `jobs/train.py` does."""

    registry: str = ""
    """Folder of the models' registry, seen by every node at one path; `<lake.root>/models` where empty."""
    model: str = Field("encoder", pattern=MODEL_NAME)
    """Name that the versions are registered under."""
    start: str = ""
    """Model to start from, named as in `encoder.model`; empty: that one."""
    start_revision: str = ""
    """Commit, where `start` is a hub id."""
    split: str = "time"
    """Which of `datasets.splits` to learn from."""
    tasks: list[TaskBlock] = []
    """What to learn, all on one encoder; each block has a `kind`: category, rating, clicks, query_items, item_items,
    tags, anchor."""
    max_tokens: int = Field(0, ge=0)
    """Longer texts are cut; 0: `encoder.max_tokens`."""
    loop: Loop = Loop()
    adapter: Adapter | None = None
    """Train an adapter and the heads, the rest of the encoder frozen; null: train everything."""
    augment: AugmentSettings | None = None
    """Change the texts of categories and ratings, and the queries of retrieval, anew each time they are read."""
    promotion: Promotion = Promotion()
    processes: int = Field(0, ge=0)
    """Processes that share every batch, started by Spark's TorchDistributor; 0: train in the driver."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: the GPU where the driver has one, or, with several processes, where Spark was given GPUs."""

    @model_validator(mode="after")
    def _names_differ(self) -> "Training":
        names = [task.name for task in self.tasks]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"training.tasks: the name {repeated[0]!r} stands twice; give each task its own `name`")
        return self

    @model_validator(mode="after")
    def _anchors_decide_nothing(self) -> "Training":
        anchors = {task.name for task in self.tasks if isinstance(task, Anchor)}
        if self.tasks and len(anchors) == len(self.tasks):
            raise ValueError(ANCHOR_ALONE)
        # A model is near its own start the more, the less it learned: no measure of two versions.
        for key, metric in (("promotion.metric", self.promotion.metric), ("loop.metric", self.loop.metric)):
            if (task := metric.removeprefix("-").partition(".")[0]) in anchors:
                raise ValueError(f"training.{key}: {task!r} is an anchor, which measures no quality; name another task")
        return self
