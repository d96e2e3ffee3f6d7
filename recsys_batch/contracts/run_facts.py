"""What a run is asked for, and what its stages tell those after them besides the tables that they leave."""

from dataclasses import dataclass, field
from typing import Any

from recsys_batch.contracts.gates import Check

# What `--stage` takes -> the stage. Scoring and rules are one pass over the candidates, and so one stage.
STAGE_NAMES = {name: name for name in ("prepare", "encode", "retrieve", "rank", "publish")} | {"rerank": "rank"}


@dataclass(frozen=True)
class NightOptions:
    """How to run, as against what to compute: nothing here changes a row."""

    stage: str = ""
    """Run this stage (a key of `STAGE_NAMES`) alone, on what earlier runs of the date left for it."""
    resume: bool = False
    """Go on from what earlier runs of the date left: only stages that nothing changed for are not run again."""
    force: bool = False
    """Compute and publish again although the date is published."""
    dry_run: bool = False
    """Check config, inputs and model, write nothing."""
    publish: bool = True
    """Whether the audited rows are published; otherwise they stay staged."""


@dataclass
class RunFacts:
    """Filled in stage by stage; a run that goes on from another one's stages starts with that one's facts."""

    made_by: dict[str, str] = field(default_factory=dict)
    """By every stage: its name -> the run whose tables and files later stages read."""
    input_checks: list[Check] = field(default_factory=list)
    """By prepare: the verdicts on the inputs, which a release carries beside those on its lists."""
    num_profiles: dict[str, int] = field(default_factory=dict)
    """By retrieve: list table of the night -> profiles that get a list."""
    num_rows: dict[str, int] = field(default_factory=dict)
    """By rank: list table -> staged rows."""
    arm_lists: dict[str, int] = field(default_factory=dict)
    """By rank: arm of the experiment -> staged user lists; none without an experiment."""

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "RunFacts":
        """Make the facts from what `dataclasses.asdict` made of them."""
        return cls(**values | {"input_checks": [Check(**check) for check in values["input_checks"]]})
