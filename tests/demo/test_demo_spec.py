import importlib.util
from datetime import date
from pathlib import Path

import pytest

from recsys_batch.cli import run_job
from recsys_batch.contracts.errors import EXIT_USAGE, ConfigError
from recsys_batch.demo.spec import DAY_MS, ShopSpec, render_ms

JOB = Path(__file__).parents[2] / "jobs" / "make_demo_shop.py"


@pytest.fixture(scope="module")
def job():
    description = importlib.util.spec_from_file_location("make_demo_shop", JOB)
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    return module


def test_the_calendar_ends_on_the_last_day():
    spec = ShopSpec(num_days=60, end=date(2026, 6, 30))
    assert spec.start == date(2026, 5, 2)
    assert render_ms(spec.start_ms) == "2026-05-02T00:00:00Z"
    assert render_ms(spec.stop_ms) == "2026-07-01T00:00:00Z"
    assert spec.stop_ms - spec.start_ms == 60 * DAY_MS


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_users": 0},
        {"num_users": True},
        {"num_items": 10},
        {"num_days": 0},
        {"num_days": 10**9},
        {"seed": -1},
        {"end": date(1971, 1, 1)},
        {"end": date(2099, 1, 1)},
    ],
    ids=str,
)
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(ConfigError, match="is not"):
        ShopSpec(**wrong)


def test_the_job_exits_2_before_it_starts_spark(job, tmp_path, monkeypatch, caplog):
    arguments = ["make_demo_shop", "--out", str(tmp_path / "shop")]
    monkeypatch.setattr("sys.argv", [*arguments, "--users", "3"])
    with pytest.raises(SystemExit) as stopped:
        run_job(job.main)
    assert stopped.value.code == EXIT_USAGE
    assert "users: 3 is not a whole number from 20" in caplog.text
    monkeypatch.setattr("sys.argv", [*arguments, "--end", "yesterday"])
    with pytest.raises(SystemExit) as stopped:
        run_job(job.main)
    assert stopped.value.code == EXIT_USAGE


def test_the_job_has_the_defaults_of_the_spec(job, monkeypatch):
    monkeypatch.setattr("sys.argv", ["make_demo_shop", "--out", "shop"])
    options = job.parse_arguments()
    assert ShopSpec(options.users, options.items, options.days, options.end, options.seed) == ShopSpec()
