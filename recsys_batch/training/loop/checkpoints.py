"""Where an interrupted run goes on: tensors in safetensors, everything else in JSON, both under their hashes.

A checkpoint is a folder `step-N` that appears whole, by a rename, or not at all.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recsys_batch.contracts.errors import ModelFilesError

_NAME = re.compile(r"^step-(\d{8})$")
_TENSORS, _FACTS = "tensors.safetensors", "facts.json"


class CheckpointFilesError(ModelFilesError):
    """A checkpoint is truncated, altered or incomplete."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on after `step` steps."""

    step: int
    tensors: dict[str, Tensor]
    """On the CPU."""
    facts: dict[str, Any]
    """What JSON can hold."""


def write_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write `folder/step-N` and remove all but the newest `keep`; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{checkpoint.step:08d}"
    staged = folder / f".{target.name}.staged"
    for old in (staged, target):
        shutil.rmtree(old, ignore_errors=True)
    staged.mkdir()
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}, staged / _TENSORS
    )
    facts = {"step": checkpoint.step, **checkpoint.facts}
    content = {"facts": facts, "facts_sha256": _hash_facts(facts), "tensors_sha256": _hash_file(staged / _TENSORS)}
    (staged / _FACTS).write_text(json.dumps(content), encoding="utf-8")
    for file in (staged / _TENSORS, staged / _FACTS, staged):
        _flush(file)
    staged.rename(target)
    _flush(folder)
    for _, old in _list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def read_latest(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint in `folder`, None where there is none.

    Raises CheckpointFilesError where it is damaged: going back in silence to an older one, or to the start, would
    throw away work that somebody may still want to rescue.
    """
    found = _list_checkpoints(folder)
    if not found:
        return None
    step, path = found[-1]
    before = f"go on from {found[-2][1].name}" if len(found) > 1 else "start over"
    advice = f"restore the file, or remove {path} to {before}"
    facts_file, tensors_file = path / _FACTS, path / _TENSORS
    try:
        content = json.loads(facts_file.read_text(encoding="utf-8"))
        facts, facts_hash, tensors_hash = content["facts"], content["facts_sha256"], content["tensors_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointFilesError(f"{facts_file} cannot be read ({error!r}); {advice}") from error
    if _hash_facts(facts) != facts_hash or facts.get("step") != step:
        raise CheckpointFilesError(f"{facts_file} was altered: its hash does not fit its content; {advice}")
    if not tensors_file.is_file():
        raise CheckpointFilesError(f"{tensors_file} is missing; {advice}")
    if _hash_file(tensors_file) != tensors_hash:
        raise CheckpointFilesError(f"{tensors_file} is truncated or was altered: its hash does not fit; {advice}")
    try:
        tensors = load_file(tensors_file)
    except (SafetensorError, OSError) as error:
        raise CheckpointFilesError(f"{tensors_file} cannot be read ({error}); {advice}") from error
    return Checkpoint(step, tensors, {name: value for name, value in facts.items() if name != "step"})


def remove_checkpoints(folder: Path) -> None:
    """Remove every checkpoint in `folder`, and what interrupted writes left."""
    for _, path in _list_checkpoints(folder):
        shutil.rmtree(path)
    for staged in folder.glob(".step-*.staged"):
        shutil.rmtree(staged)


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return a sha256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    return sorted((int(found[1]), path) for path in folder.iterdir() if (found := _NAME.match(path.name)))


def _hash_facts(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _hash_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
