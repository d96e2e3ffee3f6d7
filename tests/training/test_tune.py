"""The search: same seed, same trials, killed or not; trials that fall behind end, and leave the loop as it was."""

import io
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from rich.console import Console

from recsys_batch.contracts.config.dotted import with_values
from recsys_batch.contracts.config.training import Adversarial, Loop, Optimizer
from recsys_batch.contracts.config.tune import Parameter, Pruning, Tune
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.loop.run import train
from recsys_batch.training.loop.steps import NonFiniteLossError
from recsys_batch.training.tracking.open import Trackers
from recsys_batch.training.tune.search import (
    AnotherSearchRunsError,
    NoTrialFinishedError,
    TrialPrunedError,
    TuneResult,
    check_space,
    tune,
)
from recsys_batch.training.tune.summary import print_search, rank_trials
from tests.training.tiny import LineTask, WordTask, line

SPACE = {
    "optimizer.head_learning_rate": Parameter(low=1e-4, high=1.0, log=True),
    "batch_size": Parameter(choices=[4, 8, 24]),
    "r_drop": Parameter(low=0, high=1),
}
BASE = Loop(metric="-line.mse", epochs=3)


class DeadError(BaseException):
    """Stands for the end of the process."""


def search(**changes: object) -> Tune:
    given = {"space": SPACE, "metric": "-line.mse", "trials": 8, "random_trials": 4, "seed": 1}
    return Tune.model_validate({**given, **changes})


def bowl(values: Mapping[str, object], tracker) -> float:
    """Least at a rate of 0.01, whatever the batch size."""
    distance = (math.log10(float(values["optimizer.head_learning_rate"])) + 2) ** 2
    for evaluation in range(1, 4):
        tracker.log(10 * evaluation, {"line.mse": distance + 1 / evaluation})
    return distance


def tried(result: TuneResult) -> list[tuple[str, dict[str, object], float | None]]:
    return [(trial.state, trial.values, trial.value) for trial in result.trials]


def test_same_seed_same_trials_within_the_space(tmp_path: Path) -> None:
    first, second = (tune(search(), BASE, bowl, tmp_path / name) for name in ("a", "b"))
    assert tried(first) == tried(second)
    assert tried(tune(search(seed=2), BASE, bowl, tmp_path / "c")) != tried(first)
    assert len(first.trials) == 8
    for trial in first.trials:
        rate, size, r_drop = (trial.values[name] for name in SPACE)
        assert 1e-4 <= rate <= 1.0
        assert size in (4, 8, 24)
        assert isinstance(r_drop, float)  # the setting is one, though the space says 0 to 1
        assert 0 <= r_drop <= 1


def test_the_search_finds_the_bottom_and_says_what_matters(tmp_path: Path) -> None:
    result = tune(search(trials=25, pruning=Pruning(method="none")), BASE, bowl, tmp_path)
    values = [trial.value for trial in result.trials]
    assert result.best.value == min(values)
    assert result.best.value < 0.05
    assert next(iter(result.importance)) == "optimizer.head_learning_rate"
    assert sum(result.importance.values()) == pytest.approx(1.0)
    assert [trial.value for trial in rank_trials(result)] == sorted(values)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("method", ["median", "hyperband"])
def test_killed_anywhere_the_search_goes_on_as_if_never_killed(tmp_path: Path, sampler: str, method: str) -> None:
    settings = search(sampler=sampler, pruning=Pruning(method=method), trials=11)
    whole = tune(settings, BASE, bowl, tmp_path / "whole")
    assert {"complete", "pruned"} <= {trial.state for trial in whole.trials}
    num_calls = 0

    def mortal(values, tracker) -> float:
        class Deadly:
            def log(self, step, metrics):
                nonlocal num_calls
                num_calls += 1
                if num_calls in (3, 17):  # before the value is told
                    raise DeadError
                try:
                    tracker.log(step, metrics)
                finally:  # after it, and where the trial should have ended by it
                    if num_calls == 11:
                        raise DeadError

        return bowl(values, Deadly())

    for _ in range(3):
        with pytest.raises(DeadError):
            tune(settings, BASE, mortal, tmp_path / "parts")
    result = tune(settings, BASE, mortal, tmp_path / "parts")
    assert tried(result) == tried(whole)
    assert [trial.evaluations for trial in result.trials] == [trial.evaluations for trial in whole.trials]


def test_a_finished_search_goes_on_with_more_trials(tmp_path: Path) -> None:
    whole = tune(search(trials=9), BASE, bowl, tmp_path / "whole")
    tune(search(trials=5), BASE, bowl, tmp_path / "parts")
    assert tried(tune(search(trials=9), BASE, bowl, tmp_path / "parts")) == tried(whole)


def test_a_trial_that_ends_its_process_each_time_is_given_up(tmp_path: Path) -> None:
    def fatal(values, tracker) -> float:
        if tracker.number == 1:
            raise DeadError
        return bowl(values, tracker)

    for _ in range(2):
        with pytest.raises(DeadError):
            tune(search(trials=3, attempts=2), BASE, fatal, tmp_path)
    result = tune(search(trials=3, attempts=2), BASE, fatal, tmp_path)
    assert [trial.state for trial in result.trials] == ["complete", "failed", "complete"]


def test_losses_and_metrics_that_are_no_number_fail_a_trial_and_not_the_search(tmp_path: Path) -> None:
    def wild(values, tracker) -> float:
        if tracker.number == 0:
            raise NonFiniteLossError("the loss is nan")
        return float("nan") if tracker.number == 1 else bowl(values, tracker)

    result = tune(search(trials=3), BASE, wild, tmp_path)
    assert [trial.state for trial in result.trials] == ["failed", "failed", "complete"]
    assert result.best.number == 2

    def hopeless(values, tracker) -> float:
        return float("inf")

    with pytest.raises(NoTrialFinishedError, match="none of 2 trials"):
        tune(search(trials=2), BASE, hopeless, tmp_path / "none")


def test_the_median_decides_by_arithmetic(tmp_path: Path) -> None:
    """Trials 0 to 2 finish with 1, 2, 3 at every evaluation; the median is 2."""
    finals = [1.0, 2.0, 3.0, 2.5, 1.5]

    def steady(values, tracker) -> float:
        for step in (0, 5, 10):
            tracker.log(step, {"line.mse": finals[tracker.number], "other": 0.0})
        return finals[tracker.number]

    settings = search(trials=5, pruning=Pruning(method="median", after_trials=3, after_evaluations=2))
    result = tune(settings, BASE, steady, tmp_path)
    assert [trial.state for trial in result.trials] == ["complete"] * 3 + ["pruned", "complete"]
    assert result.trials[3].evaluations == (2.5, 2.5)  # not the one before training; ended after two
    upward = tune(settings.model_copy(update={"metric": "line.mse"}), BASE, steady, tmp_path / "up")
    assert [trial.state for trial in upward.trials] == ["complete"] * 4 + ["pruned"]


def test_trials_train_and_leave_no_checkpoints(tmp_path: Path) -> None:
    def run_trial(values, tracker) -> float:
        settings = with_values(BASE, values)
        result = train([LineTask(line())], settings, tracker.folder, track=Trackers([tracker]))
        assert any(tracker.folder.glob("step-*"))
        (tracker.folder / "kept").touch()
        return result.best_metric

    result = tune(search(trials=8), BASE, run_trial, tmp_path)
    assert result.best.value == min(trial.value for trial in result.trials if trial.value is not None)
    assert not list(tmp_path.rglob("step-*"))
    assert len(list(tmp_path.rglob("kept"))) == sum(trial.state == "complete" for trial in result.trials)


def test_a_pruned_run_cleans_up_after_itself(tmp_path: Path) -> None:
    class Ends:
        def log(self, step, values):
            if "words.accuracy" in values and step:
                raise TrialPrunedError

    task = WordTask(dropout=0.1)
    settings = Loop(
        epochs=3, batch_size=6, metric="words.accuracy", ema_decay=0.5, adversarial=Adversarial(method="fgm")
    )
    with pytest.raises(TrialPrunedError):
        train([task], settings, tmp_path, track=Ends())
    for module in task.module.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    # The same network can be trained on at once, and learns from the last step's weights, not from an average's.
    rates = Optimizer(learning_rate=3e-3, head_learning_rate=1e-2)
    settings = Loop(epochs=30, batch_size=6, metric="words.accuracy", optimizer=rates)
    again = train([task], settings, tmp_path / "again")
    assert again.best_metric == 1.0
    assert torch.isfinite(torch.cat([p.detach().reshape(-1) for p in task.module.parameters()])).all()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"batchsize": Parameter(choices=[1])}, "batchsize: no such setting; did you mean 'batch_size'"),
        ({"batch_size": Parameter(low=0, high=4)}, "batch_size: 0 is refused"),
        (
            {"batch_size": Parameter(low=1.5, high=4)},
            "space.batch_size: the setting is a whole number, and 1.5 is none",
        ),
        ({"precision": Parameter(low=0, high=1)}, "space.precision: the setting is 'float32'.*name its choices"),
        ({"precision": Parameter(choices=["float32", "int4"])}, "precision: 'int4' is refused"),
        ({"learn_task_weights": Parameter(low=0, high=1)}, "space.learn_task_weights: the setting is False"),
        ({"optimizer": Parameter(choices=[1])}, "optimizer: 1 is refused"),
    ],
)
def test_a_space_that_does_not_fit_is_refused_before_the_first_trial(tmp_path: Path, space, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_space(search(space=space), BASE)
    with pytest.raises(ConfigError, match=message):
        tune(search(space=space), BASE, lambda values, tracker: pytest.fail("a trial began"), tmp_path / "never")


@pytest.mark.parametrize(
    "given",
    [
        {}, {"low": 1}, {"low": 1, "high": 2, "choices": [1]}, {"low": 2, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"choices": [1, 1]}, {"choices": [1, 2], "log": True}, {"low": 1, "high": 9, "log": True, "step": 2},
    ],
)  # fmt: skip
def test_parameters_are_a_range_or_choices(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Parameter.model_validate(given)


def test_another_search_in_the_folder_is_named(tmp_path: Path) -> None:
    tune(search(trials=2), BASE, bowl, tmp_path)
    with pytest.raises(ConfigError, match="holds another search: seed differs, there 1, here 7"):
        tune(search(trials=2, seed=7), BASE, bowl, tmp_path)


def test_two_searches_at_a_time_are_refused(tmp_path: Path) -> None:
    def nested(values, tracker) -> float:
        with pytest.raises(AnotherSearchRunsError, match="another process is at the search"):
            tune(search(trials=1), BASE, bowl, tmp_path)
        return bowl(values, tracker)

    assert len(tune(search(trials=1), BASE, nested, tmp_path).trials) == 1


def test_the_summary_names_the_best_settings(tmp_path: Path) -> None:
    result = tune(search(trials=6), BASE, bowl, tmp_path)
    stream = io.StringIO()
    print_search(result, Console(file=stream, width=160))
    shown = stream.getvalue()
    assert f"-line.mse {result.best.value:.4f} (trial {result.best.number})" in shown
    assert "6 trials" in shown
    assert all(name in shown for name in SPACE)
    assert (tmp_path / "result.json").is_file()
