"""From a finished run to the registry and the champion, on tiny networks; no JVM."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys_batch.contracts.config.models import Training
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.example_schemas import ExampleTables
from recsys_batch.nn.files.check import fingerprint_model
from recsys_batch.training.registry.versions import Registry
from recsys_batch.training.shop.job import TrainingJob
from recsys_batch.training.shop.release import Verdict, promote_run, register_run
from recsys_batch.training.shop.run import run_training
from tests.training.shop_examples import ITEMS, write_examples

GOOD = {"epochs": 8, "batch_size": 8, "optimizer": {"learning_rate": 5e-3, "head_learning_rate": 2e-2}}
RUINED = GOOD | {"optimizer": {"learning_rate": 0.5, "head_learning_rate": 2e-2}}
TASKS = [{"kind": "rating"}, {"kind": "category"}]


def settings_of(loop: dict[str, Any], **changes: Any) -> Training:
    promotion = {"min_cases": 4} | changes.pop("promotion", {})
    return Training.model_validate({"tasks": TASKS, "loop": loop, "promotion": promotion, **changes})


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.fixture
def job(tmp_path: Path, tiny_folder: Path, registry: Registry) -> TrainingJob:
    return TrainingJob(
        examples=write_examples(tmp_path / "examples"),
        data_version="d1",
        start=str(tiny_folder),
        runs=str(registry.root / "encoder" / "runs"),
        settings=settings_of(GOOD),
        max_tokens=32,
        pooling="mean",
    )


def release(registry: Registry, job: TrainingJob, **options: bool) -> tuple[str, Verdict]:
    outcome = run_training(job)
    version = register_run(registry, job, outcome, {"split": "time"})
    return version, promote_run(registry, job, version, outcome, **options)


def test_a_version_says_where_it_comes_from_and_how_good_it_is(registry: Registry, job: TrainingJob) -> None:
    version, verdict = release(registry, job)
    stored, outcome = registry.read("encoder", version), run_training(job)
    mean_error = outcome.after["rating.rmse"] ** 2
    said = f"no champion to compare it with; -rating.squared_error {-mean_error:.4f} on 80 cases"
    assert verdict == Verdict(True, f"the first version: {said}")
    assert stored.parents == (fingerprint_model(Path(job.start)),)
    assert stored.data == {"split": "time", "examples": {"rating": 64, "category": 16}, "data_version": "d1"}
    assert stored.settings["training"]["loop"]["epochs"] == 8
    assert stored.metrics["rating.rmse"] == outcome.after["rating.rmse"]
    assert stored.metrics["before/rating.rmse"] == outcome.before["rating.rmse"]
    assert {"num_parameters", "texts_per_second"} <= stored.metrics.keys()
    assert "heads/rating/head.safetensors" in stored.files
    assert len(registry.cases("encoder", version, "-rating.squared_error")) == 4 * len(ITEMS)
    # What the registry holds, the run needs no longer; the same job again is the same version.
    assert sorted(path.name for path in job.folder.iterdir()) == ["cases.json", "outcome.json", "registered.json"]
    assert release(registry, job) == (version, verdict)
    assert registry.versions("encoder") == [version]


def test_a_worse_version_is_registered_and_the_champion_stays(registry: Registry, job: TrainingJob) -> None:
    first, _ = release(registry, job)
    second, verdict = release(registry, replace(job, settings=settings_of(RUINED)))
    assert second != first
    assert not verdict.is_champion
    assert f"of champion {first} on 80 cases" in verdict.reason
    assert "the champion stays" in verdict.reason
    assert registry.champion("encoder").version == first
    # As much worse as the tolerance allows: promoted.
    tolerant = replace(job, settings=settings_of(RUINED, promotion={"tolerance": 20.0}))
    assert release(registry, tolerant)[1].is_champion
    assert registry.champion("encoder").version == second


def test_an_anchor_that_stands_first_does_not_decide(registry: Registry, job: TrainingJob) -> None:
    release(registry, job)
    anchored = replace(job, settings=settings_of(GOOD, tasks=[{"kind": "anchor"}, *TASKS]))
    _, verdict = release(registry, anchored)
    assert "-rating.squared_error" in verdict.reason


def test_a_champion_of_other_data_is_measured_again(registry: Registry, job: TrainingJob, tmp_path: Path) -> None:
    first, _ = release(registry, job)
    rows = [{"item_id": item, "text": "good", "rating": 1.0 + place % 5} for place, item in enumerate(ITEMS)]
    other = replace(job, examples=write_examples(tmp_path / "later", {(ExampleTables.RATINGS, "test"): rows}))
    later = replace(other, data_version="d2", start=str(registry.model_folder("encoder", first)))
    second, verdict = release(registry, later)
    assert registry.read("encoder", second).parents == (f"encoder/{first}",)
    theirs = run_training(replace(job, data_version="d2", examples=other.examples, runs=str(tmp_path / "again")))
    # The first version's error on the new test part, as a training of its own measures it.
    assert f"against {-(theirs.after['rating.rmse'] ** 2):.4f} of champion {first} on 20 cases" in verdict.reason


def test_who_may_promote_and_by_what(registry: Registry, job: TrainingJob) -> None:
    by_hand = replace(job, settings=settings_of(GOOD, promotion={"automatic": False}))
    version, verdict = release(registry, by_hand)
    assert verdict == Verdict(False, "promotion.automatic is false")
    assert registry.champion("encoder") is None
    assert release(registry, job, is_wanted=False) == (version, Verdict(False, "promotion was not asked for"))
    assert release(registry, job)[1].is_champion
    ruined = replace(job, settings=settings_of(RUINED, promotion={"min_cases": 100}))
    with pytest.raises(ConfigError, match=r"share 80 cases of .*, at least 100"):
        release(registry, ruined)
    unknown = replace(job, settings=settings_of(RUINED, promotion={"metric": "rating.rmse"}))
    with pytest.raises(ConfigError, match=r"not measured by 'rating\.rmse' case by case"):
        release(registry, unknown)
