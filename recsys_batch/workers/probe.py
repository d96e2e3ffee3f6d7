"""What a worker's machine has: reported by a task, so that `doctor` sees what a night's tasks would see."""

import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata

import pyarrow as pa

from recsys_batch.contracts.errors import RecsysBatchError
from recsys_batch.contracts.filesystem import open_folder
from recsys_batch.contracts.identity import code_version
from recsys_batch.contracts.worker_task import current_task
from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.nn.files.find import check_model_files, resolve_model
from recsys_batch.workers.progress import worker_id

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "pyarrow", "numpy", "pandas", "pyspark")
FACTS = pa.schema([("facts", pa.string())])


@dataclass(frozen=True)
class MachineFacts:
    """What one process sees of its machine."""

    worker: str
    executable: str
    python: str
    packages: dict[str, str]
    memory_bytes: int
    cpus: int = 1
    gpu_addresses: tuple[str, ...] = ()
    num_gpus: int = 0
    visible_devices: str | None = None
    fingerprint: str = ""
    model_error: str = ""
    lake_error: str = ""

    @classmethod
    def from_json(cls, text: str) -> "MachineFacts":
        """Read what a probe reported."""
        values = json.loads(text)
        return cls(**(values | {"gpu_addresses": tuple(values["gpu_addresses"])}))


def describe_machine(settings: EncoderSettings | None, lake_folder: str) -> MachineFacts:
    """Return what this process sees; an unreadable model and a folder that cannot be written become facts too.

    Leaves a file named after the process in `lake_folder`, where one is named.
    """
    import torch

    fingerprint, model_error = _read_model(settings) if settings is not None else ("", "")
    return MachineFacts(
        worker=worker_id(),
        executable=sys.executable,
        python=platform.python_version(),
        packages={"recsys_batch": code_version()} | {name: _version(name) for name in PACKAGES},
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cpus=current_task().cpus,
        gpu_addresses=current_task().gpu_addresses,
        num_gpus=torch.cuda.device_count() if torch.cuda.is_available() else 0,
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        fingerprint=fingerprint,
        model_error=model_error,
        lake_error=_write_file(lake_folder) if lake_folder else "",
    )


@dataclass(frozen=True)
class ProbeMachine:
    """Any rows -> one row with the facts of this worker as JSON."""

    settings: EncoderSettings | None
    """Whose model to look for; None: no model."""
    lake_folder: str
    output_schema: pa.Schema = field(default=FACTS, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Read the partition to its end and report."""
        for _ in batches:
            continue
        text = json.dumps(asdict(describe_machine(self.settings, self.lake_folder)))
        yield pa.record_batch([[text]], schema=FACTS)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _read_model(settings: EncoderSettings) -> tuple[str, str]:
    """Return the fingerprint of the model's files, or why there is none."""
    try:
        path = resolve_model(settings.model, settings.revision)
        check_model_files(path)
        return settings.fingerprint(path), ""
    except (RecsysBatchError, OSError) as error:
        return "", str(error)


def _write_file(folder: str) -> str:
    """Return why a file cannot be written into `folder`; nothing where it was."""
    try:
        system, path = open_folder(folder)
        system.create_dir(path, recursive=True)
        with system.open_output_stream(f"{path}/{worker_id().replace(':', '-')}") as stream:
            stream.write(b"doctor")
    except (OSError, ValueError) as error:  # Arrow's errors are of these kinds
        return f"{type(error).__name__}: {error}"
    return ""
