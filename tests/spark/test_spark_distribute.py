import os
from dataclasses import replace
from pathlib import Path

import pytest

from recsys_batch.contracts.config.models import Training
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.spark.distribute import run_distributed
from recsys_batch.training.shop.job import TrainingJob, read_outcome
from tests.training.shop_examples import write_examples
from tests.training.tiny import train_shop_together, train_together
from tests.training.tiny_model import write_tiny_model

ROOT = Path(__file__).parent.parent.parent


def test_two_local_processes_give_the_loss_curve_of_one(spark, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("two", "one"):
        (tmp_path / name).mkdir()
    losses = run_distributed(spark, train_together, [str(tmp_path / "two")], num_processes=2, use_gpu=False)
    assert len(losses) == 12
    assert losses == pytest.approx(train_together(str(tmp_path / "one")), abs=1e-6)


def test_the_tasks_of_a_shop_learn_in_two_processes_what_they_do_in_one(spark, tmp_path: Path, monkeypatch) -> None:
    """Every kind of task on one encoder, in-batch negatives over both processes, an odd number of examples."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tasks = [{"kind": kind, "dropout": 0.0} for kind in ("category", "rating", "clicks")]
    tasks += [{"kind": "query_items", "negatives": {"hard": 0}}, {"kind": "item_items"}]
    optimizer = {"learning_rate": 1e-3, "head_learning_rate": 1e-2}
    loop = {"max_steps": 30, "batch_size": 8, "task_sampling": "uniform", "optimizer": optimizer}
    job = TrainingJob(
        examples=write_examples(tmp_path / "examples"),
        data_version="d1",
        start=str(write_tiny_model(tmp_path / "tiny", dropout=0.0)),
        runs="",
        settings=Training.model_validate({"tasks": tasks, "loop": loop}),
        max_tokens=32,
        pooling="mean",
    )
    two = run_distributed(spark, train_shop_together, [str(tmp_path / "two"), job], num_processes=2, use_gpu=False)
    one = train_shop_together(str(tmp_path / "one"), job)
    assert [task for task, _ in two] == [task for task, _ in one]
    assert {task for task, _ in one} == {"category", "rating", "clicks", "search", "similar"}
    assert [loss for _, loss in two] == pytest.approx([loss for _, loss in one], abs=1e-5)
    outcomes = [read_outcome(replace(job, runs=str(tmp_path / name)).folder) for name in ("two", "one")]
    assert outcomes[0].after == pytest.approx(outcomes[1].after, abs=1e-3)


def test_no_process_is_refused(spark) -> None:
    with pytest.raises(ConfigError, match="at least one process, got 0"):
        run_distributed(spark, train_together, [], num_processes=0, use_gpu=False)
