import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_batch.training.loop.checkpoints import (
    Checkpoint,
    CheckpointFilesError,
    hash_tensors,
    read_latest,
    remove_checkpoints,
    write_checkpoint,
)


def make(step: int) -> Checkpoint:
    tensors = {"a": torch.arange(6.0).reshape(2, 3) + step, "b/c": torch.tensor(step), "bits": torch.tensor([True])}
    return Checkpoint(step, tensors, {"name": "热水壶", "loss": 0.1 + 0.2})


def test_the_newest_checkpoint_comes_back_and_older_ones_go(tmp_path: Path) -> None:
    assert read_latest(tmp_path / "none") is None
    for step in (2, 10, 7):
        write_checkpoint(tmp_path, make(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000007", "step-00000010"]
    found = read_latest(tmp_path)
    assert found.step == 10
    assert found.facts == {"name": "热水壶", "loss": 0.30000000000000004}
    assert found.tensors.keys() == make(10).tensors.keys()
    assert all(torch.equal(tensor, make(10).tensors[name]) for name, tensor in found.tensors.items())
    remove_checkpoints(tmp_path)
    assert read_latest(tmp_path) is None


def test_an_interrupted_write_is_no_checkpoint_and_is_in_nobodys_way(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, make(1), keep=2)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".step-00000002.staged")
    assert read_latest(tmp_path).step == 1
    write_checkpoint(tmp_path, make(2), keep=2)
    assert read_latest(tmp_path).step == 2
    assert not list(tmp_path.glob(".*"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["tensors.safetensors", "facts.json"]), cut=st.booleans())
def test_any_damage_is_noticed_and_the_file_named(tmp_path: Path, data, name: str, cut: bool) -> None:
    file = write_checkpoint(tmp_path, make(3), keep=1) / name
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if cut:
        content = content[:position]
    else:
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    found = _read_or_refuse(tmp_path)
    if isinstance(found, str):
        assert "start over" in found
        assert str(file) in found or str(file.with_name("tensors.safetensors")) in found
    else:
        # Damage that changes nothing, such as another spelling of the same JSON.
        assert found.facts == make(3).facts
        assert hash_tensors(found.tensors) == hash_tensors(make(3).tensors)


def _read_or_refuse(folder: Path) -> Checkpoint | str:
    try:
        return read_latest(folder)
    except CheckpointFilesError as error:
        return str(error)


def test_a_missing_file_is_named_with_the_way_back(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, make(1), keep=2)
    damaged = write_checkpoint(tmp_path, make(2), keep=2)
    (damaged / "tensors.safetensors").unlink()
    with pytest.raises(CheckpointFilesError, match=r"tensors\.safetensors is missing; .*go on from step-00000001"):
        read_latest(tmp_path)
    shutil.rmtree(damaged)
    assert read_latest(tmp_path).step == 1


def test_facts_with_another_step_are_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, make(2), keep=2)
    path.rename(tmp_path / "step-00000009")
    with pytest.raises(CheckpointFilesError, match="altered"):
        read_latest(tmp_path)


def test_nothing_in_a_checkpoint_is_pickled(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, make(2), keep=2)
    assert sorted(file.name for file in path.iterdir()) == ["facts.json", "tensors.safetensors"]
    assert json.loads((path / "facts.json").read_text())["facts"]["step"] == 2


def test_hashes_see_names_shapes_types_and_values() -> None:
    base = {"a": torch.zeros(2, 3)}
    others = [
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3).int()},
        {"a": torch.ones(2, 3)},
    ]
    assert len({hash_tensors(tensors) for tensors in [base, *others]}) == 5
    assert hash_tensors(base) == hash_tensors({"a": torch.zeros(3, 2).T})
