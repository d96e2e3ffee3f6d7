"""Settings of compression: which smaller model is made of a teacher, and how it learns. Part of the configuration."""

from typing import Literal

from pydantic import Field, model_validator

from recsys_batch.contracts.config.block import Block, Share
from recsys_batch.contracts.config.training import Loop, Optimizer

DISTILL_LOOP = Loop(
    epochs=2,
    batch_size=64,
    optimizer=Optimizer(learning_rate=2e-4, layer_decay=1.0, warmup_share=0.05, weight_decay=0.0),
)
"""A student has a layer's whole way to go: ten times the rate of fine-tuning, the same in every layer."""


class StudentShape(Block):
    """What of the teacher stays; 0 leaves a size as it is."""

    layers: int = Field(0, ge=0)
    """Layers kept, chosen evenly from the first to the last."""
    neurons: int = Field(0, ge=0)
    """Feed-forward neurons of a layer, those of the greatest norm."""
    width: int = Field(0, ge=0)
    """Hidden width, a multiple of the width of a head; attention keeps its heads of the greatest norm."""
    projection: Literal["pca", "truncate"] = "pca"
    """How the narrower hidden states start: on the main axes of the teacher's token states, or as its first columns."""


class Distillation(Block):
    """How the student follows the teacher."""

    pointwise: float = Field(1.0, ge=0)
    """Weight of the squared distance between both unit vectors of a text, which is 2 - 2 cosine (Reimers and
    Gurevych, 2020)."""
    pairwise: float = Field(1.0, ge=0)
    """Weight of the difference between both matrices of cosines within a batch."""
    pairwise_loss: Literal["listwise", "margin"] = "listwise"
    """`listwise`: divergence of the softmaxes of each text's cosines; `margin`: squared difference of the margins of
    its nearest text over the others (Hofstätter et al., 2020)."""
    temperature: float = Field(0.05, gt=0)
    """Of those softmaxes."""
    train_embeddings: bool = True
    """Whether the table of word embeddings learns too; without, steps are faster."""
    loop: Loop = DISTILL_LOOP

    @model_validator(mode="after")
    def _something_is_learned(self) -> "Distillation":
        if self.pointwise == 0 and self.pairwise == 0:
            raise ValueError("pointwise and pairwise are both 0; one of them must be above")
        return self


class Pruning(Block):
    """What is taken out of the student by its weights' norms; it then learns from the teacher again."""

    norm: Literal["l1", "l2"] = "l2"
    heads: int = Field(0, ge=0)
    """Attention heads that stay in each layer; 0: all."""
    neurons: int = Field(0, ge=0)
    """Feed-forward neurons that stay in each layer; 0: all."""
    share: Share = 0.0
    """Share of the single weights of all linear layers that become 0. The files compress better; dense products are no
    faster for it, unlike with heads and neurons."""
    loop: Loop = DISTILL_LOOP.model_copy(update={"epochs": 1})

    @property
    def is_active(self) -> bool:
        """Whether anything is pruned."""
        return bool(self.heads or self.neurons or self.share)


class MatryoshkaSettings(Block):
    """Leading dimensions that are good vectors by themselves (Kusupati et al., 2022)."""

    dimensions: list[int] = []
    """Such as [64, 128, 256], beside the full width, which is always learned; none where empty."""
    weights: list[float] = []
    """Factor of each one's loss, in the same order; 1 where empty."""

    @property
    def by_dimension(self) -> dict[int, float]:
        """Return each number of dimensions with its weight."""
        weights = self.weights or [1.0] * len(self.dimensions)
        return dict(zip(self.dimensions, weights, strict=True))

    @model_validator(mode="after")
    def _fit_together(self) -> "MatryoshkaSettings":
        if any(d < 1 for d in self.dimensions) or len(set(self.dimensions)) < len(self.dimensions):
            raise ValueError(f"dimensions {self.dimensions} must be above 0 and differ")
        if self.weights and len(self.weights) != len(self.dimensions):
            raise ValueError(f"{len(self.weights)} weights for {len(self.dimensions)} dimensions; give one each")
        if any(w < 0 for w in self.weights):
            raise ValueError(f"weights {self.weights} must not be negative")
        return self


class Int8(Block):
    """The backend of 8-bit integers, tried with every result's own weights."""

    is_tried: bool = False
    min_cosine: float = Field(0.99, ge=0, le=1)
    """Lowest cosine to float32 vectors that the backend may load with."""


class CompressionSteps(Block):
    """The steps of one compression, in this order; every one that is switched on gives a model with its figures."""

    student: StudentShape = StudentShape(layers=3)
    distillation: Distillation = Distillation()
    matryoshka: MatryoshkaSettings = MatryoshkaSettings()
    pruning: Pruning = Pruning()
    int8: Int8 = Int8()
    held_out: int = Field(500, ge=2)
    """Texts that are not learned from, to compare with the teacher on."""
    max_tokens: int = Field(128, ge=8)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic in which speeds and qualities are measured, and the teacher's vectors made."""
    speed_texts: int = Field(2048, ge=1)
    """Texts on which the speeds are compared."""
    seed: int = 0


class Compress(Block):
    """The job `compress`: a registered encoder, or a model directory, to a smaller version in the registry."""

    registry: str = ""
    """Folder of the registry, which every node sees; `training.registry` where empty, else `models` below the lake."""
    name: str = Field("encoder", pattern=r"^[A-Za-z_][\w-]*$")
    """The model's name in the registry: its champion is the teacher, and the student becomes a version of it."""
    start: str = ""
    """Model to compress instead of the champion: `registry:NAME@VERSION`, a directory, `package:NAME`, or a hub id."""
    revision: str = ""
    """Commit of a hub id."""
    split: str = "time"
    """Name in `datasets.splits`: its exported examples give the texts, and its test part the queries to measure by."""
    max_texts: int = Field(50_000, ge=100)
    """Most item texts to learn from; drawn by the seed."""
    k: int = Field(10, ge=1)
    """Depth of the metric `ndcg@k`."""
    steps: CompressionSteps = CompressionSteps()
