import os
from pathlib import Path

import pytest

from recsys_batch.contracts.errors import ConfigError
from recsys_batch.spark.distribute import run_distributed
from tests.training.tiny import train_together

ROOT = Path(__file__).parent.parent.parent


def test_two_local_processes_give_the_loss_curve_of_one(spark, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("two", "one"):
        (tmp_path / name).mkdir()
    losses = run_distributed(spark, train_together, [str(tmp_path / "two")], num_processes=2, use_gpu=False)
    assert len(losses) == 12
    assert losses == pytest.approx(train_together(str(tmp_path / "one")), abs=1e-6)


def test_no_process_is_refused(spark) -> None:
    with pytest.raises(ConfigError, match="at least one process, got 0"):
        run_distributed(spark, train_together, [], num_processes=0, use_gpu=False)
