"""Search over the settings of a shop's training: every trial is a training, measured on the part valid alone."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

from recsys_batch.contracts.config.dotted import with_values
from recsys_batch.contracts.config.models import Training
from recsys_batch.contracts.config.tracking import Tracking
from recsys_batch.contracts.config.tune import Tune
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.shop.job import TrainingJob
from recsys_batch.training.shop.run import run_trial
from recsys_batch.training.tune.curves import OpenTrialCurves
from recsys_batch.training.tune.search import MAY_CHANGE, TrialTracker, TuneResult, Values, check_space, tune

log = logging.getLogger("recsys_batch.training")
# What a trial is compared by, or what does not change what is learned from these examples.
_NOT_SEARCHED = (
    *("registry", "model", "start", "start_revision", "split", "promotion", "processes", "device"),
    *("loop.metric", "loop.checkpoint_every", "loop.keep_checkpoints"),
)


def tune_shop(settings: Tune, job: TrainingJob, folder: Path, tracking: Tracking) -> TuneResult:
    """Search the training settings of `job`; a trial's value is `settings.metric` on the part valid, at its best.

    Trials run in this process one after another, each in its own folder below `folder`; the same call goes on with a
    search that was stopped. Raises ConfigError where the space names what a search cannot change, or where the part
    valid does not measure the metric, and what `tune` and the trainings raise.
    """
    if job.settings.processes > 1:
        log.info("trials run in one process each; training.processes counts for the training afterwards")
    block = searched_block(settings, job.settings)

    def try_values(values: Values, trial: TrialTracker) -> float:
        tried = with_values(block, values)
        placed = replace(job, settings=tried, max_tokens=tried.max_tokens or job.max_tokens)
        result = run_trial(placed, trial.folder, OpenTrialCurves(tracking, folder, trial))
        if result.best_metric is None:
            raise ConfigError(
                f"tune.metric {settings.metric!r} was not measured; check that the split has a part valid"
            )
        return result.best_metric

    return tune(settings, block, try_values, folder)


def searched_block(settings: Tune, training: Training) -> Training:
    """Return the settings that every trial starts from: the search's metric chooses the best weights.

    Raises ConfigError where the space names a setting that a search cannot change, or that there is none of.
    """
    for path, parameter in settings.space.items():
        if any(path == name or path.startswith(f"{name}.") for name in _NOT_SEARCHED):
            raise ConfigError(
                f"tune.space.{path}: a search changes what is learned, and not this; take it out of the space"
            )
        if path == "max_tokens" and 0 in (parameter.low, *parameter.choices):
            raise ConfigError("tune.space.max_tokens: 0 stands for encoder.max_tokens; name that number instead")
    block = with_values(training, {"loop.metric": settings.metric}).model_copy(update={"processes": 0})
    check_space(settings, block)
    return block


def search_folder(root: Path, settings: Tune, job: TrainingJob) -> Path:
    """Return the folder of a search below the registry's root: the same search of the same training goes on there."""
    searched = settings.model_dump(mode="json", exclude=MAY_CHANGE)
    key = hashlib.sha256(json.dumps([job.key, searched], sort_keys=True).encode()).hexdigest()[:12]
    return root / job.settings.model / "searches" / key
