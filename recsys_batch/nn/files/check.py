"""The files of a model directory: whole, in a safe format, and named by one hash of their bytes.

Knows the layout of safetensors and of sentence-transformers folders; loads no weights and imports no torch.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsys_batch.contracts.errors import ModelFilesError

_INDEX_NAME = "model.safetensors.index.json"
_TOKENIZER_NAMES = ("tokenizer.json", "vocab.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")
_OTHER_NAMES = (
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
_MAX_HEADER_BYTES = 100_000_000
_COPY_AGAIN = "copy or download the model again"

_file_hashes: dict[tuple[str, int, int], str] = {}


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises ModelFilesError where the file is missing, or is no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFilesError(f"{path} is missing; {_COPY_AGAIN}") from error
    except (ValueError, OSError) as error:
        raise ModelFilesError(f"{path} cannot be read as JSON ({error}); {_COPY_AGAIN}") from error
    if not isinstance(content, dict):
        raise ModelFilesError(f"{path} holds no JSON object; {_COPY_AGAIN}")
    return content


def weight_files(path: Path) -> list[Path]:
    """Return the safetensors files that make up the weights of the model in directory `path`, in a fixed order.

    Raises ModelFilesError where there are none (also where there are only pickled `.bin` weights), or a shard is
    missing.
    """
    index = path / _INDEX_NAME
    if index.is_file():
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ModelFilesError(f"{index} has no weight_map; {_COPY_AGAIN}")
        files = [path / name for name in sorted(set(map(str, shards.values())))]
    else:
        files = [path / "model.safetensors"]
    for file in files:
        if file.is_file():
            continue
        pickles = sorted(found.name for pattern in ("*.bin", "*.pt", "*.pth") for found in path.glob(pattern))
        if pickles:
            raise ModelFilesError(
                f"{path} holds weights only as {', '.join(pickles)}, a format that runs code when it is loaded; "
                "convert them to model.safetensors, or use a model that ships it"
            )
        raise ModelFilesError(f"{file} is missing; {_COPY_AGAIN}")
    return files


def check_model_files(path: Path) -> None:
    """Check that the directory `path` holds config.json, a tokenizer, and complete safetensors weights.

    Only headers and sizes are read, so this costs milliseconds. Raises ModelFilesError naming the first file that is
    wrong.
    """
    read_json(path / "config.json")
    files = weight_files(path)
    if not any((path / name).is_file() for name in _TOKENIZER_NAMES):
        raise ModelFilesError(f"{path} holds no tokenizer (one of {', '.join(_TOKENIZER_NAMES)}); {_COPY_AGAIN}")
    for file in files:
        _check_safetensors(file)


def _check_safetensors(file: Path) -> None:
    actual = file.stat().st_size
    with file.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
        if actual < 8 or header_bytes > _MAX_HEADER_BYTES or actual < 8 + header_bytes:
            raise ModelFilesError(
                f"{file} is truncated or no safetensors file: its header needs {8 + header_bytes} bytes, "
                f"the file has {actual}; {_COPY_AGAIN}"
            )
        try:
            header = json.loads(stream.read(header_bytes))
            ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise ModelFilesError(f"{file} has no readable safetensors header; {_COPY_AGAIN}") from error
    expected = 8 + header_bytes + max(ends, default=0)
    if actual != expected:
        state = "is truncated" if actual < expected else "has extra bytes"
        raise ModelFilesError(f"{file} {state}: expected {expected} bytes, found {actual}; {_COPY_AGAIN}")


def _relevant_files(path: Path) -> Iterator[Path]:
    yield from weight_files(path)
    yield from (path / name for name in (_INDEX_NAME, *_TOKENIZER_NAMES, *_OTHER_NAMES) if (path / name).is_file())


def fingerprint_model(path: Path) -> str:
    """Return one sha256 (64 hex digits) over the names and bytes of every file that can change a model's output.

    Weights, config, tokenizer and sentence-transformers settings count; README, unused formats and the directory's
    own name do not. Files already hashed in this process are not read again while size and modification time stay the
    same. Raises ModelFilesError as `weight_files` does.
    """
    digest = hashlib.sha256()
    for file in sorted(_relevant_files(path), key=lambda found: found.relative_to(path).as_posix()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{_hash_file(file)}\n".encode())
    return digest.hexdigest()


def _hash_file(file: Path) -> str:
    stat = file.stat()
    key = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _file_hashes:
        with file.open("rb") as stream:
            _file_hashes[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _file_hashes[key]
