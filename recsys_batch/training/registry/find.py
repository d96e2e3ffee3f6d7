"""Which model a job uses: the configured name becomes a checked folder, once, in the driver.

A registered model is resolved here alone. Workers get the version's folder, so a champion that moves during the night
changes nothing in it.
"""

from pathlib import Path

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.nn.files.find import check_model_files, resolve_model
from recsys_batch.training.registry.versions import REGISTRY_PREFIX, Registry

_LOCAL = "file://"


def open_registry(config: Config, folder: str = "") -> Registry:
    """Return the registry of the shop's models, or the one in `folder` (the key `compress.registry`).

    Raises ConfigError where its folder is no path that nodes can share.
    """
    name = folder or config.training.registry or f"{config.lake.root.rstrip('/')}/models"
    if "://" in name.removeprefix(_LOCAL):
        key = "compress.registry" if folder else "training.registry" if config.training.registry else "lake.root"
        raise ConfigError(
            f"training.registry: models need a folder that every node sees under one path, and {key} is {name}; name "
            "such a folder"
        )
    return Registry(Path(name.removeprefix(_LOCAL)).absolute())


def find_model(config: Config, name: str, revision: str = "") -> Path:
    """Return the folder of a model: registered (its files' hashes are checked), or as `resolve_model` finds it.

    Raises ModelNotFoundError, ModelVersionNotFoundError, ModelVersionSpoiledError and ModelFilesError.
    """
    if name.startswith(REGISTRY_PREFIX):
        return find_in(open_registry(config), name)
    return find_in(None, name, revision)


def find_in(registry: Registry | None, name: str, revision: str = "") -> Path:
    """Return the folder of a model as `find_model` does, with a registry that is open already."""
    if registry is not None and name.startswith(REGISTRY_PREFIX):
        path = registry.resolve(name)
    else:
        path = resolve_model(name, revision or None)
    check_model_files(path)
    return path


def find_encoder(config: Config) -> tuple[EncoderSettings, str]:
    """Return the encoder's settings and fingerprint; the model's files are checked before any work begins."""
    path = find_model(config, config.encoder.model, config.encoder.revision)
    settings = encoder_settings(config, path)
    return settings, settings.fingerprint(path)


def find_ranker(config: Config) -> Path | None:
    """Return the folder of the ranker's version, its files checked; None where the config asks for none.

    Raises ModelVersionNotFoundError and ModelVersionSpoiledError.
    """
    return open_registry(config).resolve(config.ranker.model) if config.ranker is not None else None


def encoder_settings(config: Config, path: Path) -> EncoderSettings:
    """Return the settings of the configured encoder with the model in directory `path`.

    What the configuration names stays where every node can find it by that name, such as a package; a registered model
    is named by its folder.
    """
    block = config.encoder
    is_registered = block.model.startswith(REGISTRY_PREFIX)
    return EncoderSettings(
        model=str(path) if is_registered else block.model,
        revision=None if is_registered else block.revision or None,
        max_tokens=block.max_tokens,
        token_budget=block.token_budget,
        pooling=block.pooling,
        normalize=block.normalize,
        dimensions=block.dimensions,
        dtype=block.dtype,
        backend=block.backend,
        min_cosine=block.min_cosine,
        query_prefix=block.query_prefix,
        document_prefix=block.document_prefix,
    )
