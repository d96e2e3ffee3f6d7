"""What compression is for: each model's quality and speed beside the teacher's, measured in one run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from recsys_batch.contracts.errors import RecsysBatchError
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.files.check import weight_files
from recsys_batch.training.compress.speeds import Speed, compare_speeds
from recsys_batch.training.registry.versions import Cases

Measure = Callable[[Encoder], Mapping[str, Cases]]
"""Encoder -> metric -> its value on every held-out case."""


@dataclass(frozen=True)
class CompressedModel:
    """One model directory as one encoder runs it."""

    name: str
    """`teacher`, `student` or `pruned`, with `[dim=64]` or `[int8]` where it is run so."""
    folder: Path
    settings: EncoderSettings
    cases: Mapping[str, Cases] = field(default_factory=dict)
    speed: Speed | None = None
    """Beside the teacher, in turns."""
    megabytes: float = 0.0
    """Of the weight files, in MiB."""
    refusal: str = ""
    """Why it did not run; cases and speed are empty then."""

    @property
    def quality(self) -> dict[str, float]:
        """Return each metric's mean over its cases."""
        return {metric: float(np.mean(list(values.values()))) for metric, values in self.cases.items() if values}


@dataclass(frozen=True)
class Compression:
    """The teacher first, then what was made of it; the last step's model is the result."""

    models: tuple[CompressedModel, ...]
    agreement: Mapping[str, Mapping[str, float]]
    """Step -> how near its vectors are to the teacher's on held-out texts."""

    @property
    def teacher(self) -> CompressedModel:
        """Return the model that was compressed."""
        return self.models[0]

    @property
    def result(self) -> CompressedModel:
        """Return the last step's model, whole and in its own arithmetic."""
        return next(model for model in reversed(self.models) if "[" not in model.name)

    def metrics(self, model: CompressedModel) -> dict[str, float]:
        """Return what a manifest of `model` says, its variants `[...]` included: each metric (`ndcg@10`), the share of
        the teacher's that it keeps (`kept.ndcg@10`), `texts_per_second`, `speed_ratio`, `megabytes`, and the agreement
        with the teacher.
        """
        found = {f"distillation.{name}": value for name, value in self.agreement.get(model.name, {}).items()}
        for variant in self.models:
            base, _, suffix = variant.name.partition("[")
            if base != model.name or variant.speed is None:
                continue
            facts = {**variant.quality, "texts_per_second": variant.speed.texts_per_second}
            facts |= {"speed_ratio": variant.speed.ratio, "megabytes": variant.megabytes}
            for metric, value in self.teacher.quality.items():
                if value > 0 and metric in variant.quality:
                    facts[f"kept.{metric}"] = variant.quality[metric] / value
            found |= {f"{name}[{suffix}" if suffix else name: value for name, value in facts.items()}
        return found


def measure_models(
    models: Sequence[CompressedModel], measure: Measure, speed_texts: Sequence[str], device: str
) -> list[CompressedModel]:
    """Return the models with quality and speed; one that does not run here, by its backend say, with the reason.

    Raises what the first of them, the teacher, raises: without it there is nothing to compare with.
    """
    encoders: dict[str, Encoder] = {}
    refusals: dict[str, str] = {}
    for model in models:
        try:
            encoders[model.name] = Encoder.load(model.settings, model.folder, device)
        except RecsysBatchError as error:
            if model is models[0]:
                raise
            refusals[model.name] = str(error)
    cases = {name: measure(encoder) for name, encoder in encoders.items()}
    speeds = compare_speeds(encoders, speed_texts)
    return [
        replace(model, refusal=refusals[model.name])
        if model.name in refusals
        else replace(
            model,
            cases=cases[model.name],
            speed=speeds[model.name],
            megabytes=sum(file.stat().st_size for file in weight_files(model.folder)) / 2**20,
        )
        for model in models
    ]
