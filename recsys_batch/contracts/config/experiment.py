"""A/B arms: several settings of scoring in one night, each for its share of the users.

Knows which settings an arm may change: those that the stage `rank` is the first to read, so that the arms share
everything before it.
"""

import math
from itertools import accumulate
from typing import TypeVar

from pydantic import BaseModel, Field, model_validator

from recsys_batch.contracts.config.block import Block
from recsys_batch.contracts.config.dotted import with_values

B = TypeVar("B", bound=BaseModel)

# Weights and calibrations are the blend's, which is the first half of `rank`.
BLEND_KEYS = (
    "retrieve.content.weight",
    "retrieve.content.weight_in_similar_items",
    "retrieve.content.calibration",
    "retrieve.covisitation.weight",
    "retrieve.covisitation.calibration",
    "retrieve.popularity.weight",
    "retrieve.popularity.calibration",
)
# What arms may set. Only user lists have arms, and `weight_in_similar_items` is about others.
ARM_KEYS = (
    *(key for key in BLEND_KEYS if key != "retrieve.content.weight_in_similar_items"),
    "rerank.top_n",
    "rerank.category_cap",
    "rerank.brand_cap",
    "rerank.diversity",
)


class Arm(Block):
    """One arm: who is in it, and what is different for them."""

    name: str = Field(pattern=r"^[A-Za-z][\w-]*$")
    """As the column `arm` of `user_recommendations` has it."""
    share: float = Field(gt=0, le=1)
    """Share of the users; the shares of all arms add up to 1."""
    set: dict[str, bool | int | float | str] = {}
    """Config key (`ARM_KEYS`) -> its value in this arm, such as `{rerank.category_cap: 2}`; nothing: as the config has
    it."""

    @model_validator(mode="after")
    def _sets_what_arms_may(self) -> "Arm":
        for key in self.set:
            if key not in ARM_KEYS:
                raise ValueError(f"experiment.arms: arm {self.name} sets {key!r}; arms may set {', '.join(ARM_KEYS)}")
        return self

    def applied_to(self, block: B, name: str) -> B:
        """Return the block of the config called `name` (`retrieve`, `rerank`) as it is in this arm.

        Raises ConfigError naming the key and the value that is refused.
        """
        prefix = f"{name}."
        return with_values(block, {k.removeprefix(prefix): v for k, v in self.set.items() if k.startswith(prefix)})


class Experiment(Block):
    """Arms that split the users; the same user is in the same arm every night."""

    name: str = Field(min_length=1)
    """Salt of the hash that deals users to arms: another name deals them anew."""
    arms: list[Arm] = Field(min_length=2)
    """The first one is the control, which the others are compared with."""

    @model_validator(mode="after")
    def _arms_split_the_users(self) -> "Experiment":
        names = [arm.name for arm in self.arms]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"experiment.arms: the name {repeated[0]!r} stands twice; every arm needs its own")
        total = math.fsum(arm.share for arm in self.arms)
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"experiment.arms: the shares add up to {total:g}; they must add up to 1")
        return self

    def upper_edges(self) -> list[float]:
        """Return up to where in [0, 1) each arm's users are drawn, in the order of the arms; the last edge is 1."""
        return [*list(accumulate(arm.share for arm in self.arms))[:-1], 1.0]
