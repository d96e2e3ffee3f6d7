import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.loop.checkpoints import read_latest
from recsys_batch.training.loop.distributed import (
    first_gathered_row,
    gather_with_gradients,
    join_group,
    num_ranks,
    rank,
    tell_all,
)
from tests.training.tiny import train_together

ROOT = Path(__file__).parent.parent.parent

CHECK_HELPERS = """
import torch
from recsys_batch.training.loop.distributed import *
with join_group() as device:
    me = rank()
    # Rank 0 has two rows, rank 1 one; each computes the loss of its own rows against all three.
    rows = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0]])]
    mine = rows[me].clone().requires_grad_()
    whole = gather_with_gradients(mine)
    assert whole.tolist() == torch.cat(rows).tolist()
    assert first_gathered_row(len(mine), mine.device) == 2 * me
    (mine @ whole.T).square().sum().backward()
    alone = torch.cat(rows).requires_grad_()
    (alone @ alone.T).square().sum().backward()
    expected = alone.grad[2 * me : 2 * me + len(mine)]
    torch.testing.assert_close(mine.grad, expected)
    with torch.no_grad():
        assert len(gather_with_gradients(mine)) == len(mine)
    assert tell_all({"a": [1.5, "手机"]} if me == 0 else None, torch.device("cpu")) == {"a": [1.5, "手机"]}
    weights = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2,), (1, 2), (1,))]
    weights[0].grad, weights[1].grad = torch.tensor([1.0, me]), torch.tensor([[10.0 * me, 3.0]])
    add_gradients(weights)
    assert [weights[0].grad.tolist(), weights[1].grad.tolist(), weights[2].grad] == [[2.0, 1.0], [[10.0, 6.0]], None]
"""


def run_two(code: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for number in range(2):
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
        env |= {"RANK": str(number), "WORLD_SIZE": "2", "MASTER_PORT": str(port)}
        command = [sys.executable, "-c", code]
        started.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    try:
        outputs = [process.communicate(timeout=120)[0].decode() for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(outputs)


def test_two_processes_learn_what_one_does_with_the_whole_batch(tmp_path: Path) -> None:
    together, alone = tmp_path / "two", tmp_path / "one"
    together.mkdir()
    alone.mkdir()
    code = f"{CHECK_HELPERS}\nfrom tests.training.tiny import train_together"
    # A process joins one group after the other; the second finds the first one's port free again.
    run_two(f"{code}\ntrain_together({str(together)!r})")
    losses = train_together(str(alone))
    assert len(losses) == 12
    assert json.loads((together / "losses.json").read_text()) == pytest.approx(losses, abs=1e-6)
    found, expected = (load_file(folder / "weights.safetensors") for folder in (together, alone))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5)
    assert read_latest(together).step == 12
    evaluations = [read_latest(folder).facts["records"]["evaluations"] for folder in (together, alone)]
    for one, other in zip(*evaluations, strict=True):
        assert one["metrics"] == pytest.approx(other["metrics"], abs=1e-5)


def test_alone_there_is_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_group("cpu") as device:
        assert (device, rank(), num_ranks()) == ("cpu", 0, 1)
        rows = torch.ones(2, 3, requires_grad=True)
        assert gather_with_gradients(rows) is rows
        assert first_gathered_row(2, rows.device) == 0
        assert tell_all({"a": 1}, rows.device) == {"a": 1}


def test_half_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="RANK, MASTER_ADDR, MASTER_PORT is not"), join_group():
        pass
