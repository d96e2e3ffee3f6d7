"""Settings of training: how to optimize, when to stop, what to add against overfitting. Part of the configuration."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recsys_batch.contracts.config.block import Block, Share


class Optimizer(Block):
    """AdamW and its schedule."""

    learning_rate: float = Field(2e-5, gt=0)
    """Of the encoder's last layer; well below pre-training's, so that what was learned there is kept."""
    head_learning_rate: float = Field(1e-3, gt=0)
    """Of what starts from random weights: heads, sequence models."""
    layer_decay: float = Field(0.9, gt=0, le=1)
    """Each layer below learns this much slower (Howard and Ruder, 2018); 1: all alike."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled L2; biases and norms are left out."""
    warmup_share: Share = 0.1
    """Share of the steps over which the rate rises from 0."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after that, to 0."""
    clip_norm: float = Field(1.0, ge=0)
    """Gradients of a greater norm are scaled down to it; 0: never."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients make one step."""


class Adversarial(Block):
    """Perturbed word embeddings as extra examples."""

    method: Literal["none", "fgm", "pgd"] = "none"
    """`fgm`: one step along the gradient (Miyato et al., 2017); `pgd`: several projected ones (Madry et al., 2018)."""
    epsilon: float = Field(0.5, gt=0)
    """Norm of the perturbation of the embedding matrix."""
    steps: int = Field(3, ge=1)
    """Steps of `pgd`."""
    step_size: float = Field(0.3, gt=0)
    """Norm of one step of `pgd`."""


class Loop(Block):
    """One training run."""

    seed: int = 0
    epochs: int = Field(3, ge=1)
    max_steps: int = Field(0, ge=0)
    """Ends the run after so many optimizer steps, whatever `epochs` says; 0: no limit."""
    batch_size: int = Field(32, ge=1)
    """Examples of one batch, over all processes together."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the forward pass (autocast); weights and optimizer stay float32. float16 needs a GPU."""
    optimizer: Optimizer = Optimizer()
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Evaluate and keep an exponential moving average of the weights; 0: none. Short runs average less, see ema.py."""
    adversarial: Adversarial = Adversarial()
    r_drop: float = Field(0.0, ge=0)
    """Weight of the divergence of two passes with different dropout (Liang et al., 2021); 0: one pass."""
    task_sampling: Literal["proportional", "uniform", "square_root"] = "square_root"
    """How often each task gets a step, by its number of examples."""
    task_shares: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Task -> how many times as often it gets a step as `task_sampling` says; 1 where not named."""
    task_weights: dict[str, float] = {}
    """Task -> factor of its loss; 1 where not named."""
    learn_task_weights: bool = False
    """Learn the tasks' uncertainties, which then weigh their losses (Kendall, Gal and Cipolla, 2018)."""
    evaluate_every: int = Field(0, ge=0)
    """Steps between evaluations; 0: at the end of every epoch."""
    metric: str = ""
    """`task.metric` that decides what the best weights are, higher is better (`-task.metric`: lower); empty: the last
    weights are kept and nothing stops early."""
    patience: int = Field(0, ge=0)
    """Stop after so many evaluations without a better `metric`; 0: never."""
    checkpoint_every: int = Field(0, ge=0)
    """Steps between checkpoints, from which a run resumes; 0: at the end of every epoch."""
    keep_checkpoints: int = Field(2, ge=1)
    """Checkpoints that stay; each is four to six times the weights' size."""

    @model_validator(mode="after")
    def _stopping_has_a_measure(self) -> "Loop":
        if self.patience and not self.metric:
            raise ValueError("patience needs a metric to wait for; name one, such as retrieval.ndcg@10")
        return self
