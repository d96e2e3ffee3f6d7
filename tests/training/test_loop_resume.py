import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.contracts.config.training import Adversarial, Loop
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.loop.checkpoints import CheckpointFilesError, read_latest
from recsys_batch.training.loop.run import train
from tests.training.tiny import LineTask, WordTask, deep_line, line, several_settings, several_tasks, train_long

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and wait for them where other processes use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class InterruptedRunError(Exception):
    pass


def interrupt_at(tasks, step: int):
    """Make the tasks raise when the batches of the run's step `step` are made; evaluations go on."""
    made: list[int] = []
    for task in tasks:
        own = task.loss

        def loss(outputs, batch, own=own):
            made.append(1)
            if len(made) > step:
                raise InterruptedRunError
            return own(outputs, batch)

        task.loss = loss
    return tasks


def state(tasks) -> list[torch.Tensor]:
    return [tensor.clone() for task in tasks for tensor in task.module.state_dict().values()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@cache
def uninterrupted(checkpoint_every: int):
    tasks = several_tasks()
    with tempfile.TemporaryDirectory() as folder:
        result = train(tasks, several_settings(checkpoint_every=checkpoint_every), Path(folder))
    return result, state(tasks)


@settings(max_examples=15, deadline=None)
@given(calls=st.lists(st.integers(1, 60), min_size=1, max_size=2), checkpoint_every=st.sampled_from([0, 1, 2, 3]))
def test_interrupted_anywhere_and_resumed_the_weights_are_the_same(calls: list[int], checkpoint_every: int) -> None:
    """Several tasks, mined examples, dropout, accumulation, R-Drop, EMA, learned weights, best weights by a metric."""
    expected, weights = uninterrupted(checkpoint_every)
    chosen = several_settings(checkpoint_every=checkpoint_every)
    with tempfile.TemporaryDirectory() as folder:
        for call in calls:
            try:
                train(interrupt_at(several_tasks(), call), chosen, Path(folder))
            except InterruptedRunError:
                continue
        tasks = several_tasks()
        # Whatever weights the process happens to start from: those of the checkpoint count, or the given ones.
        if read_latest(Path(folder)):
            with torch.no_grad():
                for parameter in tasks[0].module.parameters():
                    parameter.add_(1.0)
        result = train(tasks, chosen, Path(folder))
    assert same(state(tasks), weights)
    assert result.losses == expected.losses
    assert result.evaluations == expected.evaluations
    assert (result.best_step, result.best_metric) == (expected.best_step, expected.best_metric)


@pytest.mark.parametrize("step", [1, 5, 8])
def test_bert_with_adversarial_steps_resumes(tmp_path: Path, step: int) -> None:
    # The embeddings are perturbed when the interruption comes in the second pass.
    chosen = Loop(
        epochs=2, batch_size=4, checkpoint_every=1, adversarial=Adversarial(method="pgd", steps=2), ema_decay=0.5
    )
    whole = WordTask(dropout=0.1)
    train([whole], chosen, tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        train(interrupt_at([WordTask(dropout=0.1)], step), chosen, tmp_path / "parts")
    resumed = WordTask(dropout=0.1)
    train([resumed], chosen, tmp_path / "parts")
    assert same(state([resumed]), state([whole]))


def test_a_finished_run_is_taken_up_without_a_step(tmp_path: Path) -> None:
    chosen = several_settings(patience=2)
    tasks = several_tasks()
    result = train(tasks, chosen, tmp_path)
    again = several_tasks()
    repeated = train(interrupt_at(again, 0), chosen, tmp_path)
    assert same(state(again), state(tasks))
    assert repeated.losses == result.losses
    assert repeated.seconds == result.seconds


def test_buffers_are_part_of_the_weights(tmp_path: Path) -> None:
    def make() -> LineTask:
        torch.manual_seed(0)
        return LineTask(torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1)))

    chosen = Loop(epochs=2, batch_size=8, checkpoint_every=1)
    whole, resumed = make(), make()
    train([whole], chosen, tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        train(interrupt_at([make()], 4), chosen, tmp_path / "parts")
    train([resumed], chosen, tmp_path / "parts")
    assert same(state([resumed]), state([whole]))
    assert int(whole.module[0].num_batches_tracked) == 6


def test_without_resume_old_checkpoints_go(tmp_path: Path) -> None:
    train([LineTask(line())], Loop(epochs=4, batch_size=8), tmp_path)
    task = LineTask(line())
    result = train([task], Loop(epochs=2, batch_size=8), tmp_path, resume=False)
    assert result.steps == 6
    assert read_latest(tmp_path).step == 6


def test_a_damaged_checkpoint_is_no_reason_to_start_over_in_silence(tmp_path: Path) -> None:
    chosen = Loop(epochs=2, batch_size=8)
    train([LineTask(line())], chosen, tmp_path)
    file = tmp_path / "step-00000006" / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointFilesError, match=r"tensors\.safetensors is truncated .* go on from step-00000003"):
        train([LineTask(line())], chosen, tmp_path)


def frozen_line(value: float) -> LineTask:
    task = LineTask(deep_line(dropout=0.0))
    task.module[0].weight.requires_grad_(False).fill_(value)
    return task


@pytest.mark.parametrize(
    ("make", "changes", "version", "message"),
    [
        (lambda: frozen_line(1.0), {"batch_size": 6}, "v1", "setting batch_size differs, there '8', here '6'"),
        (lambda: frozen_line(2.0), {}, "v1", "frozen weights differs"),
        (lambda: LineTask(line()), {}, "v1", "trained weights .* differs"),
        (lambda: LineTask(frozen_line(1.0).module, num=23), {}, "v1", "examples differs, there .*24.*, here .*23"),
        (lambda: frozen_line(1.0), {}, "v2", "data version differs, there 'v1', here 'v2'"),
    ],
)
def test_checkpoints_of_another_run_are_refused(tmp_path: Path, make, changes, version, message: str) -> None:
    train([frozen_line(1.0)], Loop(epochs=1, batch_size=8), tmp_path, data_version="v1")
    with pytest.raises(ConfigError, match=message):
        train([make()], Loop(**{"epochs": 1, "batch_size": 8, **changes}), tmp_path, data_version=version)


def test_how_often_checkpoints_are_written_may_change(tmp_path: Path) -> None:
    train([LineTask(line())], Loop(epochs=1, batch_size=8), tmp_path)
    chosen = Loop(epochs=1, batch_size=8, checkpoint_every=7, keep_checkpoints=5)
    assert train([LineTask(line())], chosen, tmp_path).steps == 3


def test_a_killed_process_leaves_a_run_that_ends_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"from tests.training.tiny import train_long; train_long({str(tmp_path)!r})"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None and not list(tmp_path.glob("step-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < read_latest(tmp_path).step < 120
    resumed, whole = train_long(str(tmp_path)), train_long(str(tmp_path / "whole"))
    assert same(state(resumed), state(whole))
