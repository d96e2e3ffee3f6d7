"""Pre-training for the shop: the part of it that knows the lake's folders and the registry. Starts no JVM."""

from datetime import date
from pathlib import Path

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.example_schemas import examples_folder
from recsys_batch.contracts.model_version import ModelVersion
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.pretrain.shop import pretrain_shop
from recsys_batch.training.registry.find import find_model, open_registry
from recsys_batch.training.shop.run import pick_device


def pretrain_config(config: Config, ds: date, *, fresh: bool = False) -> ModelVersion:
    """Pre-train as the block `pretrain` says, on the examples of `ds` that were exported; return the version.

    Raises ConfigError for a split that is not configured, ExamplesNotFoundError where nothing was exported, and what
    `find_model` and `pretrain_shop` raise.
    """
    settings = config.pretrain
    check_split(config)
    start = find_model(config, settings.start, settings.start_revision) if settings.start else None
    return pretrain_shop(
        settings,
        open_registry(config),
        start,
        open_examples(config, settings.split, ds) if settings.split else None,
        config.tracking,
        ds=ds.isoformat(),
        device=pick_device(config.training.device),
        fresh=fresh,
    )


def check_split(config: Config) -> None:
    """Raise ConfigError where `pretrain.split` names none of the configured splits."""
    known = [split.name for split in config.datasets.splits]
    if config.pretrain.split and config.pretrain.split not in known:
        raise ConfigError(f"pretrain.split: {config.pretrain.split!r} is none of datasets.splits: {', '.join(known)}")


def open_examples(config: Config, split: str, ds: date) -> ExampleFiles:
    """Return the exported examples of a dataset, without Spark."""
    root = config.lake.root.rstrip("/")
    place = root if "://" in root else str(Path(root).absolute())
    return ExampleFiles(f"{place}/{examples_folder(split, ds)}")
