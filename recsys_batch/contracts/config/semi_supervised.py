"""Settings of learning from texts without labels: which guesses become labels, and what a person should label next."""

from typing import Literal

from pydantic import Field

from recsys_batch.contracts.config.block import Block, Share


class PseudoLabeling(Block):
    """Guesses of a trained model as labels."""

    floor: Share = 0.9
    """Calibrated confidence below which a guess is no label. Of tags it is that of a text's least certain word."""
    per_class: int = Field(0, ge=0)
    """Most labels of one class (of clicks: of one outcome), the surest first; 0: no limit."""
    calibrate: bool = True
    """Fit a temperature on the validation data first (Guo et al., 2017): networks are surer than they are right."""
    weight: float = Field(1.0, gt=0)
    """A pseudo-label counts so many times its confidence in the loss; a true label counts 1."""
    rounds: int = Field(1, ge=1)
    """Times that the model is trained on its labels and guesses anew."""


class ActiveLearning(Block):
    """What to label next: uncertain, and unlike what is labeled or chosen already."""

    count: int = Field(100, ge=1)
    """Rows chosen of each kind."""
    measure: Literal["entropy", "margin"] = "entropy"
    """Uncertainty, 0 to 1. `entropy`: of the probabilities, over its greatest; `margin`: 1 less the distance of the two
    likeliest."""
    diversity: Literal["product", "k_center"] = "product"
    """`product`: the highest uncertainty times distance to what is there; `k_center`: of the most uncertain `pool`
    times `count` rows, the farthest (Sener and Savarese, 2018)."""
    pool: int = Field(5, ge=1)
