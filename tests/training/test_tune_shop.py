"""The search over a shop's training on tiny networks: trials, their values and curves, resuming, refusals; no JVM."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.config.models import Training
from recsys_batch.contracts.config.tracking import Tracking
from recsys_batch.contracts.config.tune import Tune
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.example_schemas import ExampleTables
from recsys_batch.learn.tune import search as search_config
from recsys_batch.training.loop.steps import Learner
from recsys_batch.training.shop.job import TrainingJob
from recsys_batch.training.tune.search import TuneResult
from recsys_batch.training.tune.shop import search_folder, searched_block, tune_shop
from recsys_batch.training.tune.summary import as_options
from tests.training.shop_examples import write_examples

RATE = "loop.optimizer.learning_rate"
ROOT = Path(__file__).parent.parent.parent


def search(**changes: Any) -> Tune:
    space = {RATE: {"low": 1e-4, "high": 1e-1, "log": True}, "loop.batch_size": {"choices": [8, 16]}}
    given = {"space": space, "metric": "-rating.rmse", "trials": 3, "seed": 3, "pruning": {"method": "none"}}
    return Tune.model_validate(given | changes)


@pytest.fixture
def job(tmp_path: Path, tiny_folder: Path) -> TrainingJob:
    loop = {"epochs": 3, "checkpoint_every": 3}
    return TrainingJob(
        examples=write_examples(tmp_path / "examples"),
        data_version="d1",
        start=str(tiny_folder),
        runs=str(tmp_path / "runs"),
        settings=Training.model_validate({"tasks": [{"kind": "rating"}], "loop": loop, "processes": 3}),
        max_tokens=32,
        pooling="mean",
    )


def told(result: TuneResult) -> list[tuple[str, dict[str, Any], float | None, tuple[float, ...]]]:
    return [(trial.state, trial.values, trial.value, trial.evaluations) for trial in result.trials]


def test_trials_are_measured_on_the_part_valid_alone(job: TrainingJob, tmp_path: Path) -> None:
    result = tune_shop(search(), job, tmp_path / "search", Tracking())
    assert [trial.state for trial in result.trials] == ["complete"] * 3
    for trial in result.trials:
        # The best of the evaluations after the epochs, or of the one before the first step, which no search is told of.
        assert trial.value <= min(trial.evaluations)
        assert len(trial.evaluations) == 3
    assert result.best.value == min(trial.value for trial in result.trials)
    curves = sorted(path.name for path in (tmp_path / "search/tensorboard").iterdir())
    assert curves == ["trial-0000", "trial-0001", "trial-0002"]
    assert not Path(job.runs).exists()
    assert not list((tmp_path / "search").rglob("step-*"))
    # Other ratings in part test: nothing changes. Other ratings in part valid: everything does.
    rows = [{"item_id": "i00", "text": "good", "rating": 1.0}]
    for part, is_same in (("test", True), ("valid", False)):
        examples = write_examples(tmp_path / part, {(ExampleTables.RATINGS, part): rows})
        other = tune_shop(search(), replace(job, examples=examples), tmp_path / f"search_{part}", Tracking())
        assert (told(other) == told(result)) is is_same


def test_a_search_that_was_stopped_goes_on(job: TrainingJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tune_shop(search(), job, tmp_path / "whole", Tracking())
    learn, taken = Learner.learn, []

    def stop_within_the_second_trial(self, plan):  # type: ignore[no-untyped-def]
        if len(taken) > 3 and taken[-1] == 4 and 0 in taken[1:]:
            raise KeyboardInterrupt
        taken.append(plan.step)
        return learn(self, plan)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", stop_within_the_second_trial)
        with pytest.raises(KeyboardInterrupt):
            tune_shop(search(), job, tmp_path / "parts", Tracking())
    steps: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", lambda self, plan: steps.append(plan.step) or learn(self, plan))
        parts = tune_shop(search(), job, tmp_path / "parts", Tracking())
    assert steps[0] == 3  # from the trial's checkpoint
    assert told(parts) == told(whole)


def test_trials_that_fall_behind_end_early_and_their_curves_stay(job: TrainingJob, tmp_path: Path) -> None:
    space = {RATE: {"choices": [5e-3, 1e-9]}, "loop.optimizer.head_learning_rate": {"choices": [2e-2, 1e-9]}}
    pruning = {"method": "median", "after_trials": 1}
    result = tune_shop(search(space=space, trials=6, pruning=pruning), job, tmp_path, Tracking())
    behind = [trial for trial in result.trials if trial.state == "pruned"]
    assert behind
    for trial in behind:
        assert len(trial.evaluations) < 3
        assert list((tmp_path / "tensorboard" / f"trial-{trial.number:04d}").glob("events.*"))


def test_what_cannot_be_searched(job: TrainingJob, tmp_path: Path) -> None:
    for path in ("model", "promotion.tolerance", "loop.metric", "processes"):
        with pytest.raises(ConfigError, match=rf"tune\.space\.{path}: a search changes what is learned, and not this"):
            searched_block(search(space={path: {"choices": ["x"]}}), job.settings)
    with pytest.raises(ConfigError, match=r"tune\.space\.max_tokens: 0 stands for encoder\.max_tokens"):
        searched_block(search(space={"max_tokens": {"choices": [0, 16]}}), job.settings)
    with pytest.raises(ConfigError, match=r"loop\.optimiser: no such setting; did you mean 'optimizer'"):
        searched_block(search(space={"loop.optimiser.clip_norm": {"low": 0, "high": 1}}), job.settings)
    # Part valid of the tiny shop has no item with a category.
    categories = replace(job, settings=Training.model_validate({"tasks": [{"kind": "category"}]}))
    with pytest.raises(ConfigError, match=r"metric 'category\.accuracy' is not measured"):
        tune_shop(search(metric="category.accuracy"), categories, tmp_path, Tracking())


def test_the_length_of_texts_can_be_searched(job: TrainingJob, tmp_path: Path) -> None:
    space = {"max_tokens": {"choices": [3, 32]}}
    result = tune_shop(search(space=space, trials=4), job, tmp_path, Tracking())
    by_length = {trial.values["max_tokens"]: trial.value for trial in result.trials}
    # As if the configuration had named that length.
    for length, value in by_length.items():
        alone = search(space={"loop.seed": {"choices": [0]}}, trials=1)
        found = tune_shop(alone, replace(job, max_tokens=length), tmp_path / str(length), Tracking())
        assert found.best.value == value
    assert len(set(by_length.values())) == 2


def test_another_search_has_another_folder(job: TrainingJob) -> None:
    root = Path("/models")
    same = search_folder(root, search(), job)
    assert same.parent == root / "encoder" / "searches"
    assert search_folder(root, search(trials=9, seconds=5.0), job) == same
    assert search_folder(root, search(seed=4), job) != same
    assert search_folder(root, search(), replace(job, data_version="d2")) != same


def test_from_a_configuration(job: TrainingJob, tmp_path: Path) -> None:
    overrides = [f"lake.root={tmp_path}/lake", "tune.metric=-rating.rmse", "tune.trials=1"]
    chosen = [*overrides, "tune.space={loop.batch_size: {choices: [8, 16]}}"]
    result, folder = search_config(load_config(ROOT / "conf/demo.yaml", chosen, {}), job)
    assert folder.parent == tmp_path / "lake/models/encoder/searches"
    assert (folder / "result.json").is_file()
    again = search_config(load_config(ROOT / "conf/demo.yaml", [*chosen, "tune.trials=2"], {}), job)
    assert again[1] == folder
    assert told(again[0])[:1] == told(result)
    assert len(again[0].trials) == 2
    with pytest.raises(ConfigError, match="tune is null; name what to search"):
        search_config(load_config(ROOT / "conf/demo.yaml", overrides[:1], {}), job)


def test_options_give_the_configuration_the_values_that_were_found() -> None:
    values = {
        RATE: 1e-05,
        "loop.optimizer.head_learning_rate": 1.2345678901234567e-05,
        "loop.r_drop": 0.0,
        "loop.batch_size": 24,
        "loop.learn_task_weights": True,
        "loop.metric": "-rating.rmse",
        "adapter": None,
    }
    options = as_options(values, "training")
    given = shlex.split(" ".join(options))
    assert given[::2] == ["--set"] * len(values)
    config = load_config(ROOT / "conf/demo.yaml", given[1::2], {})
    loop = config.training.loop
    assert loop.optimizer.learning_rate == 1e-05
    assert loop.optimizer.head_learning_rate == 1.2345678901234567e-05
    assert (loop.r_drop, loop.batch_size, loop.learn_task_weights) == (0.0, 24, True)
    assert loop.metric == "-rating.rmse"
    assert config.training.adapter is None
