"""Hyper-parameter search with Optuna: trials one after another, in a study that a kill does not lose.

What a trial tries is a function of the seed, its number and the results before it, so that a search that was killed and
goes on tries what an uninterrupted one would have. A trial that was running goes on under its own number, and with its
own folder, where its training finds its checkpoints.
"""

import fcntl
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from recsys_batch.contracts.config.dotted import read_path, with_values
from recsys_batch.contracts.config.tune import Parameter, Tune, Value
from recsys_batch.contracts.errors import AnotherPublisherWonError, CheckFailedError, ConfigError
from recsys_batch.training.loop import distributed
from recsys_batch.training.loop.checkpoints import remove_checkpoints
from recsys_batch.training.loop.sampling import derive_seed
from recsys_batch.training.loop.steps import NonFiniteLossError

log = logging.getLogger("recsys_batch.training")
_STUDY, _FILE, _STEPS, _ATTEMPTS = "search", "study.sqlite", "steps", "attempts"
MAY_CHANGE = {"trials", "seconds", "attempts"}
"""Settings that the same search may be gone on with."""
_FEWEST_FOR_IMPORTANCE = 4

Values = Mapping[str, Value]
"""Dotted path of a setting -> what a trial sets it to."""


class NoTrialFinishedError(CheckFailedError):
    """Every trial failed or was ended early; there is no best one."""


class AnotherSearchRunsError(AnotherPublisherWonError):
    """Another process is at the same study."""


class TrialPrunedError(Exception):
    """Ends a trial that has fallen behind; passes through `train` to `tune`."""


@dataclass(frozen=True)
class TrialRecord:
    """What became of one trial."""

    number: int
    state: str
    """complete, pruned or failed."""
    value: float | None
    values: dict[str, Value]
    evaluations: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class TuneResult:
    """What a search found."""

    metric: str
    best: TrialRecord
    importance: dict[str, float]
    """Setting -> its share of what the settings explain (PED-ANOVA, Watanabe et al., 2023), highest first; empty where
    too few trials are complete."""
    trials: tuple[TrialRecord, ...]


class TrialTracker:
    """A `Tracker` that follows the deciding metric of a trial, and ends the trial where it has fallen behind."""

    def __init__(self, trial: Any, metric: str, folder: Path) -> None:
        """Follow an Optuna trial."""
        self.number: int = trial.number
        self.folder = folder
        """The trial's own, the same when it goes on; its checkpoints are removed when it ends."""
        self._trial, self._metric = trial, metric.removeprefix("-")
        self._steps: list[int] = trial.user_attrs.get(_STEPS, [])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Raise TrialPrunedError where the trial should end. Evaluations that it has told before are not told again."""
        if self._metric not in values or step == 0:
            return
        if step not in self._steps:
            self._steps = [*self._steps, step]
            self._trial.report(values[self._metric], len(self._steps))
            self._trial.set_user_attr(_STEPS, self._steps)
        if step == self._steps[-1] and self._trial.should_prune():
            raise TrialPrunedError(f"trial {self.number} has fallen behind after {step} steps")


def check_space(settings: Tune, block: BaseModel) -> None:
    """Raise ConfigError where the search names a setting that `block` has not, or a value that it refuses."""
    for path, parameter in settings.space.items():
        distribution = _distribution(path, parameter, read_path(block, path))
        ends = getattr(distribution, "choices", None) or (distribution.low, distribution.high)
        for value in ends:
            with_values(block, {path: value})


def tune(
    settings: Tune, block: BaseModel, run_trial: Callable[[Values, TrialTracker], float], folder: Path
) -> TuneResult:
    """Search the settings of `block` (`with_values(block, values)` applies a trial's); goes on where it was stopped.

    `run_trial` trains with some values, gives the tracker to `train`, and returns the metric at its best. It may leave
    what it likes in `tracker.folder`. A loss that is no finite number fails the trial, any other error ends the search,
    and the trial is tried again when it goes on.

    Raises ConfigError for a space that does not fit `block`, and where `folder` holds another search;
    AnotherSearchRunsError, NoTrialFinishedError.
    """
    if distributed.num_ranks() > 1:
        raise ConfigError("a search runs its trials in one process; start tune without a process group")
    check_space(settings, block)
    folder.mkdir(parents=True, exist_ok=True)
    with _only_search(folder):
        search = _Search(settings, block, folder)
        search.run(run_trial)
        result = search.result()
        (folder / "result.json").write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
        return result


class _Search:
    def __init__(self, settings: Tune, block: BaseModel, folder: Path) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._settings, self._folder = settings, folder
        self._space = {
            path: _distribution(path, parameter, read_path(block, path)) for path, parameter in settings.space.items()
        }
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{(folder / _FILE).resolve()}")
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=_STUDY,
            direction="minimize" if settings.metric.startswith("-") else "maximize",
            pruner=_pruner(settings),
            load_if_exists=True,
        )
        self._check_same()

    def run(self, run_trial: Callable[[Values, TrialTracker], float]) -> None:
        """Finish the trial that was running, then begin new ones."""
        states = self._optuna.trial.TrialState
        started = time.monotonic()
        for frozen in self._study.get_trials(states=(states.RUNNING,)):
            self._begin(frozen.number)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(
                self._storage.get_study_id_from_name(_STUDY), frozen.number
            )
            trial = self._optuna.trial.Trial(self._study, trial_id)
            for path, distribution in self._space.items():  # what it was killed before it had drawn is drawn now
                _draw(trial, path, distribution)
            self._try(trial, run_trial)
        while len(self._study.trials) < self._settings.trials:
            if 0 < self._settings.seconds <= time.monotonic() - started:
                return
            self._begin(len(self._study.trials))
            self._try(self._study.ask(self._space), run_trial)

    def result(self) -> TuneResult:
        """Return what was found."""
        states = self._optuna.trial.TrialState
        complete = self._study.get_trials(states=(states.COMPLETE,))
        if not complete:
            raise NoTrialFinishedError(
                f"none of {len(self._study.trials)} trials in {self._folder} was completed; look into the log for why "
                "they failed, and narrow the space"
            )
        records = tuple(_record(trial) for trial in self._study.trials if trial.state.is_finished())
        importance: dict[str, float] = {}
        if len(complete) >= _FEWEST_FOR_IMPORTANCE:
            importance = {
                name: float(v) for name, v in self._optuna.importance.get_param_importances(self._study).items()
            }
        best = _record(self._study.best_trial)
        return TuneResult(self._settings.metric, best, importance, records)

    def _begin(self, number: int) -> None:
        seed = derive_seed(self._settings.seed, "trial", number) % 2**32
        samplers = self._optuna.samplers
        self._study.sampler = (
            samplers.TPESampler(seed=seed, n_startup_trials=self._settings.random_trials)
            if self._settings.sampler == "tpe"
            else samplers.RandomSampler(seed=seed)
        )

    def _try(self, trial: Any, run_trial: Callable[[Values, TrialTracker], float]) -> None:
        states = self._optuna.trial.TrialState
        attempts = trial.user_attrs.get(_ATTEMPTS, 0) + 1
        folder = self._folder / "trials" / f"{trial.number:04d}"
        if attempts > self._settings.attempts:
            log.warning("trial %d ended its process %d times and counts as failed", trial.number, attempts - 1)
            self._study.tell(trial, state=states.FAIL)
            return
        trial.set_user_attr(_ATTEMPTS, attempts)
        folder.mkdir(parents=True, exist_ok=True)
        tracker = TrialTracker(trial, self._settings.metric, folder)
        log.info("trial %d: %s", trial.number, trial.params)
        try:
            value = float(run_trial(dict(trial.params), tracker))
        except TrialPrunedError as error:
            log.info("%s", error)
            self._study.tell(trial, state=states.PRUNED)
        except NonFiniteLossError as error:
            log.warning("trial %d failed: %s", trial.number, error)
            self._study.tell(trial, state=states.FAIL)
        else:
            if math.isfinite(value):
                self._study.tell(trial, value)
            else:
                self._study.tell(trial, state=states.FAIL)
            log.info("trial %d: %s %s", trial.number, self._settings.metric, value)
        remove_checkpoints(folder)

    def _check_same(self) -> None:
        wanted = self._settings.model_dump(mode="json", exclude=MAY_CHANGE)
        kept = self._study.user_attrs.get("settings")
        if kept is None:
            self._study.set_user_attr("settings", wanted)
            return
        for name, value in wanted.items():
            if kept.get(name) != value:
                raise ConfigError(
                    f"{self._folder} holds another search: {name} differs, there {kept.get(name)!r}, here {value!r}; "
                    "choose another folder, or undo the change"
                )


def _distribution(path: str, parameter: Parameter, value: object) -> Any:
    """Return what Optuna draws from; whole numbers where the setting's value in the config is one."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    low, high, step = parameter.low, parameter.high, parameter.step
    assert low is not None  # noqa: S101 # `Parameter` sees to it
    assert high is not None  # noqa: S101
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"space.{path}: the setting is {value!r}, which has no low and high; name its choices")
    if isinstance(value, float):
        return FloatDistribution(float(low), float(high), log=parameter.log, step=step)
    wrong = [number for number in (low, high, step) if isinstance(number, float) and not number.is_integer()]
    if wrong:
        raise ConfigError(f"space.{path}: the setting is a whole number, and {wrong[0]} is none")
    return IntDistribution(int(low), int(high), log=parameter.log, step=int(step or 1))


def _draw(trial: Any, path: str, distribution: Any) -> None:
    """Draw a setting's value, unless the trial has one."""
    if hasattr(distribution, "choices"):
        trial.suggest_categorical(path, distribution.choices)
    else:
        kind = type(distribution).__name__
        suggest = trial.suggest_float if kind == "FloatDistribution" else trial.suggest_int
        suggest(path, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _pruner(settings: Tune) -> Any:
    from optuna import pruners

    pruning = settings.pruning
    if pruning.method == "none":
        return pruners.NopPruner()
    if pruning.method == "hyperband":
        return pruners.HyperbandPruner(min_resource=pruning.after_evaluations, reduction_factor=pruning.reduction)
    return pruners.MedianPruner(n_startup_trials=pruning.after_trials, n_warmup_steps=pruning.after_evaluations)


def _record(trial: Any) -> TrialRecord:
    states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    evaluations = tuple(float(value) for _, value in sorted(trial.intermediate_values.items()))
    value = float(trial.value) if trial.state.name == "COMPLETE" else None
    return TrialRecord(trial.number, states[trial.state.name], value, dict(trial.params), evaluations, seconds)


@contextmanager
def _only_search(folder: Path) -> Iterator[None]:
    with (folder / "study.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AnotherSearchRunsError(
                f"another process is at the search in {folder}; wait for it, or choose another folder"
            ) from error
        yield
