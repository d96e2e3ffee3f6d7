"""From a finished run to a registered version, and to the champion where that is not worse."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys_batch.contracts.identity import code_version
from recsys_batch.contracts.model_version import ModelVersion
from recsys_batch.nn.files.check import fingerprint_model
from recsys_batch.training.registry.promotion import Verdict, try_to_promote
from recsys_batch.training.registry.versions import Cases, Registry, name_of_folder
from recsys_batch.training.shop.job import CHECKPOINTS, MODEL, Outcome, TrainingJob, read_cases
from recsys_batch.training.shop.run import measure_model, name_version_cases

_REGISTERED = "registered.json"


def register_run(registry: Registry, job: TrainingJob, outcome: Outcome, data: Mapping[str, Any]) -> str:
    """Register what the run left and return its version; `data` describes the dataset.

    A run that was registered before keeps its version. What the run's folder no longer needs is removed. Raises
    ModelVersionNotFoundError where the version was taken out of the registry since.
    """
    noted, name = job.folder / _REGISTERED, job.settings.model
    if noted.is_file():
        return registry.read(name, json.loads(noted.read_text(encoding="utf-8"))["version"]).version
    start = Path(job.start)
    manifest = ModelVersion(
        name=name,
        kind="encoder",
        settings={
            "training": job.settings.model_dump(mode="json"),
            "encoder": {"max_tokens": job.max_tokens, "pooling": job.pooling, "prefixes": list(job.prefixes)},
        },
        data={**data, "examples": dict(outcome.examples), "data_version": job.data_version},
        metrics={**outcome.after, **outcome.costs, **{f"before/{k}": v for k, v in outcome.before.items()}},
        parents=(name_of_folder(start).replace("@", "/") or fingerprint_model(start),),
        code_version=code_version(),
        seed=job.settings.loop.seed,
    )
    version = registry.register(manifest, job.folder / MODEL, read_cases(job.folder)).version
    noted.write_text(json.dumps({"version": version}), encoding="utf-8")
    for folder in (MODEL, CHECKPOINTS):  # what they held is in the registry
        shutil.rmtree(job.folder / folder, ignore_errors=True)
    return version


def promote_run(
    registry: Registry, job: TrainingJob, version: str, outcome: Outcome, *, is_wanted: bool = True
) -> Verdict:
    """Point the champion to the version where the settings allow it and it is not worse by a paired test.

    A champion from other data is measured on the job's test part. Raises what `promotion.promote` raises, but not for a
    challenger that is worse: that is a verdict.
    """
    settings, name = job.settings.promotion, job.settings.model
    before = registry.champion(name)
    if before is not None and before.version == version:
        return Verdict(True, before.reason)
    if not is_wanted or not settings.automatic:
        return Verdict(False, "promotion.automatic is false" if is_wanted else "promotion was not asked for")
    metric = settings.metric or next(iter(outcome.main_metrics.values()))
    sign = "-" if metric.startswith("-") else ""
    task, _, measure = metric.removeprefix("-").partition(".")

    def measure_champion(model: Path) -> Cases:
        measured = measure_model(job, model, task)
        return name_version_cases(measured, job.data_version).get(f"{sign}{measure}", {})

    return try_to_promote(
        registry,
        name,
        version,
        metric,
        tolerance=settings.tolerance,
        min_cases=settings.min_cases,
        measure=measure_champion,
        seed=job.settings.loop.seed,
    )
