"""What arrives in the files of TensorBoard, Weights & Biases and MLflow, read back with their own readers."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recsys_batch.contracts.config.tracking import MLflow, Tracking, WeightsAndBiases
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.loop.run import train
from recsys_batch.training.tracking.base import TrackingUnavailableError
from recsys_batch.training.tracking.open import Trackers, open_tracker
from tests.training.tiny import LineTask, line

CONFIG = {"epochs": 3, "reader": {"password": "hunter2"}, "source": "https://joe:hunter2@host/x"}
NO_WANDB = "the package wandb is not installed (extra `wandb`); it is tested where it is"
NO_MLFLOW = "the package mlflow is not installed (extra `mlflow`); it is tested where it is"


class KilledError(Exception):
    """Stands for the end of the process."""


class KillAt:
    """Ends the run at a step, after the other trackers have its values."""

    def __init__(self, step: int) -> None:
        self.step = step

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step >= self.step:
            raise KilledError


def settings() -> Loop:
    return Loop(
        epochs=2, batch_size=4, metric="-line.mse", checkpoint_every=5, optimizer=Optimizer(head_learning_rate=0.1)
    )


def run(folder: Path, tracking: Tracking, kill_at: int = 10_000):
    """Train 12 steps, checkpoints after 5 and 10."""
    with open_tracker(tracking, folder, "first", CONFIG) as tracker:
        return train([LineTask(line())], settings(), folder / "steps", track=Trackers([tracker, KillAt(kill_at)]))


def expected_curves(result) -> dict[str, list[tuple[int, float]]]:
    return {
        "loss/line": [(place + 1, loss) for place, (_, loss) in enumerate(result.losses)],
        "line.mse": [(row.step, row.metrics["line.mse"]) for row in result.evaluations],
    }


def board_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(folder / "tensorboard" / "first"), size_guidance={"scalars": 0})
    board.Reload()
    return {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in board.Tags()["scalars"]}


def check_curves(found: dict[str, list[tuple[int, float]]], result) -> None:
    for name, points in expected_curves(result).items():
        assert [step for step, _ in found[name]] == [step for step, _ in points]
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in points], rel=1e-6)
    assert [step for step, _ in found["learning_rate"]] == list(range(1, 13))


def test_tensorboard_shows_what_the_run_returned(tmp_path: Path) -> None:
    result = run(tmp_path, Tracking())
    assert result.steps == 12
    check_curves(board_curves(tmp_path), result)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["steps", "tensorboard"]


@pytest.mark.parametrize("kill_at", [0, 3, 8, 12])
def test_a_resumed_run_continues_its_curves(tmp_path: Path, kill_at: int) -> None:
    with pytest.raises(KilledError):
        run(tmp_path, Tracking(), kill_at)
    result = run(tmp_path, Tracking())
    check_curves(board_curves(tmp_path), result)
    run(tmp_path, Tracking())  # a finished run tells nothing more
    check_curves(board_curves(tmp_path), result)


def test_a_run_that_starts_over_begins_its_curves_anew(tmp_path: Path) -> None:
    with open_tracker(Tracking(), tmp_path, "first", {}) as tracker:
        for step in range(5):
            tracker.log(step, {"loss": 1.0})
    with open_tracker(Tracking(), tmp_path, "first", {}, resume=False) as tracker:
        tracker.log(3, {"loss": 2.0})
    assert board_curves(tmp_path) == {"loss": [(3, 2.0)]}


def all_files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_no_secret_reaches_the_files(tmp_path: Path) -> None:
    run(tmp_path, Tracking())
    written = all_files(tmp_path / "tensorboard")
    assert b"reader.password" in written
    assert b"hunter2" not in written


@pytest.mark.parametrize(
    ("package", "extra", "tracking"),
    [
        ("wandb", "wandb", Tracking(wandb=WeightsAndBiases(enabled=True))),
        ("mlflow", "mlflow", Tracking(mlflow=MLflow(enabled=True))),
        ("torch.utils.tensorboard", "train", Tracking()),
    ],
)
def test_a_missing_package_is_named_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str, tracking: Tracking
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with (
        pytest.raises(ConfigError, match=rf"needs the package '{package}'.*recsys-batch\[{extra}\]"),
        open_tracker(tracking, tmp_path, "first", {}),
    ):
        pytest.fail("the tracker opened")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_a_run_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="run name"), open_tracker(Tracking(), tmp_path, name, {}):
        pytest.fail("the tracker opened")


def test_a_password_in_the_server_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError, match="MLFLOW_TRACKING_USERNAME") as raised:
        MLflow(enabled=True, server="https://joe:hunter2@host/")
    assert "must hold no user name" in raised.value.errors()[0]["msg"]
    with pytest.raises(ValidationError, match="server"):
        MLflow(server="sqlite:///elsewhere.db")


def test_a_destination_that_fails_is_named_once_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "recsys_batch.training"):
        with open_tracker(Tracking(), tmp_path, "first", {}) as tracker:
            tracker.log(1, {"loss": 1.0})
            (tmp_path / "blocked").mkdir()
            (tmp_path / "blocked" / "tensorboard").write_text("a file where a folder should be")
        with open_tracker(Tracking(), tmp_path / "blocked", "first", {}) as tracker:
            tracker.log(1, {"loss": 1.0})
            tracker.log(2, {"loss": 1.0})
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == ["TensorBoard takes no more values"]


# Weights & Biases, offline: its file is a LevelDB log (blocks of 32 KiB, records in chunks) of protocol buffers.


def wandb_log(content: bytes) -> Iterator[bytes]:
    place, record = 7, b""  # after the file's own header
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last chunk of one
            yield record
            record = b""


def wandb_parts(folder: Path) -> list[list[dict[str, float]]]:
    """Return the history rows of every part of the run, in the order of the parts."""
    from wandb.proto import wandb_internal_pb2

    parts = []
    for file in sorted((folder / "wandb").glob("offline-run-*/run-*.wandb")):
        records = [wandb_internal_pb2.Record.FromString(found) for found in wandb_log(file.read_bytes())]
        histories = [record.history for record in records if record.WhichOneof("record_type") == "history"]
        parts.append(
            [{"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in row.item} for row in histories]
        )
    return parts


def wandb_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    for rows in wandb_parts(folder):
        for row in rows:
            for name, value in row.items():
                if not name.startswith("_"):
                    curves.setdefault(name, []).append((int(row["_step"]), value))
    return curves


def test_wandb_keeps_an_offline_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason=NO_WANDB)
    monkeypatch.setenv("WANDB_MODE", "online")  # the setting decides, not what happens to be exported
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    tracking = Tracking(wandb=WeightsAndBiases(enabled=True))
    with pytest.raises(KilledError):
        run(tmp_path, tracking, 8)
    result = run(tmp_path, tracking)
    check_curves(wandb_curves(tmp_path), result)
    ids = {file.name for file in (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")}
    assert len(ids) == 1
    assert len(wandb_parts(tmp_path)) == 2
    assert b"hunter2" not in all_files(tmp_path / "wandb")


def test_wandb_online_without_a_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason=NO_WANDB)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    tracking = Tracking(wandb=WeightsAndBiases(enabled=True, online=True))
    with (
        pytest.raises((ConfigError, TrackingUnavailableError), match=r"tracking\.wandb"),
        open_tracker(tracking, tmp_path, "first", {}),
    ):
        pytest.fail("the tracker opened")


# MLflow, in a SQLite file.


def mlflow_runs(folder: Path):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("recsys-batch")
    return client, client.search_runs([experiment.experiment_id])


def test_mlflow_keeps_a_run_that_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason=NO_MLFLOW)
    tracking = Tracking(mlflow=MLflow(enabled=True))
    with pytest.raises(KilledError):
        run(tmp_path, tracking, 8)
    _, runs = mlflow_runs(tmp_path)
    assert [found.info.status for found in runs] == ["FAILED"]
    result = run(tmp_path, tracking)
    client, runs = mlflow_runs(tmp_path)
    assert [(found.info.status, found.info.run_name) for found in runs] == [("FINISHED", "first")]
    names = runs[0].data.metrics
    curves = {name: client.get_metric_history(runs[0].info.run_id, name) for name in names}
    check_curves({name: [(m.step, m.value) for m in rows] for name, rows in curves.items()}, result)
    assert runs[0].data.params["epochs"] == "3"
    assert b"hunter2" not in all_files(tmp_path)


def test_mlflow_names_are_made_to_fit_and_starting_over_is_another_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason=NO_MLFLOW)
    tracking = Tracking(mlflow=MLflow(enabled=True))
    for value in (0.25, 0.5):
        with open_tracker(tracking, tmp_path, "first", {"a[0]": 1}, resume=False) as tracker:
            tracker.log(1, {"retrieval.ndcg@10[gain=exp]": value})
    _, runs = mlflow_runs(tmp_path)
    assert sorted(found.data.metrics["retrieval.ndcg_at_10_gain_exp_"] for found in runs) == [0.25, 0.5]
    assert {found.data.params["a_0_"] for found in runs} == {"1"}


def test_mlflow_without_its_server_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason=NO_MLFLOW)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracking = Tracking(mlflow=MLflow(enabled=True, server="http://127.0.0.1:9"))
    with (
        pytest.raises(TrackingUnavailableError, match=r"tracking\.mlflow cannot be opened"),
        open_tracker(tracking, tmp_path, "first", {}),
    ):
        pytest.fail("the tracker opened")
