"""Settings of the hyper-parameter search: which settings of training are tried, how often, and when a trial ends."""

from typing import Literal

from pydantic import Field, model_validator

from recsys_batch.contracts.config.block import Block

Value = bool | int | float | str | None


class Parameter(Block):
    """What one setting may be: `low` to `high`, or one of `choices`."""

    low: int | float | None = None
    high: int | float | None = None
    """The last value that is tried. Whole numbers are tried where the setting is one."""
    log: bool = False
    """Try orders of magnitude alike, as for learning rates."""
    step: int | float | None = Field(None, gt=0)
    """Distance of the values tried; any value, or every whole number, where none is given."""
    choices: list[Value] = []

    @model_validator(mode="after")
    def _is_range_or_choices(self) -> "Parameter":
        is_range = self.low is not None and self.high is not None
        if bool(self.choices) == is_range or (not is_range and (self.low, self.high) != (None, None)):
            raise ValueError("give low and high, or choices, and not both")
        if self.choices and (self.log or self.step is not None):
            raise ValueError("log and step belong to low and high; choices have none")
        if len({(type(value), value) for value in self.choices}) < len(self.choices):
            raise ValueError(f"choices repeat a value: {self.choices}")
        if self.low is not None and self.high is not None:
            if self.low > self.high:
                raise ValueError(f"low {self.low} is above high {self.high}")
            if self.log and (self.low <= 0 or self.step is not None):
                raise ValueError("log needs a low above 0, and no step")
        return self


class Pruning(Block):
    """Ends trials early that fall behind. Evaluations are counted 1, 2, ...; the one before training is none."""

    method: Literal["none", "median", "hyperband"] = "median"
    """`median`: the trial's best so far is worse than the median of the others at that evaluation; `hyperband`:
    successive halving in several brackets (Li et al., 2018)."""
    after_trials: int = Field(4, ge=1)
    """`median`: finished trials that there must be."""
    after_evaluations: int = Field(1, ge=1)
    """Evaluations that every trial gets."""
    reduction: int = Field(3, ge=2)
    """`hyperband`: one of so many trials goes on."""


class Tune(Block):
    """One search."""

    space: dict[str, Parameter] = Field(min_length=1)
    """Dotted path in the training settings -> values to try."""
    metric: str = Field(min_length=1)
    """`task.metric` that is made as high as can be (`-task.metric`: as low)."""
    trials: int = Field(20, ge=1)
    """Trials in all, over every part of an interrupted search."""
    seconds: float = Field(0.0, ge=0)
    """No trial begins after so long in one part of the search; 0: no limit."""
    seed: int = 0
    sampler: Literal["tpe", "random"] = "tpe"
    """`tpe`: tree-structured Parzen estimator (Bergstra et al., 2011)."""
    random_trials: int = Field(8, ge=1)
    """`tpe`: trials at random before it learns from them."""
    pruning: Pruning = Pruning()
    attempts: int = Field(3, ge=1)
    """Times that a trial is begun which ends its process each time; after that it counts as failed."""
