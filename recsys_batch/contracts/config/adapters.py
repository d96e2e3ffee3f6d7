"""Settings of parameter-efficient fine-tuning: few new parameters, the encoder itself frozen."""

from typing import Literal

from pydantic import Field

from recsys_batch.contracts.config.block import Block, Share


class Adapter(Block):
    """Which adapter to put into the encoder's linear layers. It is merged into them when the model is saved."""

    kind: Literal["lora", "ia3"] = "lora"
    """`lora`: a low-rank update of each matrix (Hu et al., 2022); `ia3`: factors of keys, values and the
    feed-forward layers' inner states (Liu et al., 2022), with far fewer parameters."""
    rank: int = Field(16, ge=1)
    """`lora`: rank of an update."""
    alpha: float = Field(32.0, gt=0)
    """`lora`: an update counts alpha / rank times."""
    dropout: Share = 0.05
    """`lora`: on the input of an update."""
    layers: Literal["all", "attention"] = "all"
    """`lora`: every linear layer, or those of attention alone."""
    seed: int = 0
    """Of the adapter's random weights."""
