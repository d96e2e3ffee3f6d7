"""Where a model lives on disk: a directory, an installed Python package, or a hub snapshot at a pinned revision.

Knows names and paths only; `nn.model_files` looks into the files.
"""

import importlib.util
from pathlib import Path

from recsys_batch.contracts.errors import ModelNotFoundError
from recsys_batch.nn.files.check import check_model_files, fingerprint_model

__all__ = ["check_model_files", "fingerprint_model", "resolve_model"]

_PACKAGE_PREFIX = "package:"
_HUB_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer*", "*.txt", "*.model")


def resolve_model(name: str, revision: str | None = None) -> Path:
    """Return the directory that holds the files of a model.

    `name` is a local directory, `package:NAME` for an installed Python package that carries a model (`-` and `_` are
    the same), or a hub id such as `intfloat/multilingual-e5-small`, which needs a `revision` (a commit) and is
    downloaded once.

    Raises ModelNotFoundError where the name resolves to nothing; the message says what to do.
    """
    if name.startswith(_PACKAGE_PREFIX):
        return _package_directory(name.removeprefix(_PACKAGE_PREFIX))
    if name and Path(name).is_dir():
        return Path(name).resolve()
    if not name or name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ModelNotFoundError(
            f"model {name!r}: no such directory on this machine; every node must see the same path"
        )
    if not revision:
        raise ModelNotFoundError(
            f"model {name!r}: no such directory, and as a hub id it needs a revision (a commit hash), so that every "
            "night uses the same weights; set the model's revision"
        )
    return _hub_snapshot(name, revision)


def _package_directory(package: str) -> Path:
    module_name = package.replace("-", "_")
    spec = importlib.util.find_spec(module_name) if module_name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelNotFoundError(f"model package:{package}: the package is not installed; pip install {package}")
    roots = [Path(location) for location in spec.submodule_search_locations]
    configs = sorted(config for root in roots for config in root.rglob("config.json"))
    for config in sorted(configs, key=lambda path: len(path.parts)):
        if (config.parent / "model.safetensors").is_file():
            return config.parent.resolve()
    raise ModelNotFoundError(
        f"model package:{package}: no folder under {roots[0]} holds config.json and model.safetensors; "
        "name a package that carries a model"
    )


def _hub_snapshot(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    bars_were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_HUB_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelNotFoundError(
            f"model {name!r} at revision {revision!r}: neither a local directory nor a snapshot that can be fetched "
            f"({type(error).__name__}); check the spelling, or copy the files to a directory and name that"
        ) from error
    finally:
        if not bars_were_disabled:
            enable_progress_bars()
