"""Search over the training settings of the shop: the part of it that knows the lake and the registry."""

import logging
import shutil
from datetime import date
from pathlib import Path

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.config.tune import Tune
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.learn.train import prepare_job
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.training.registry.find import open_registry
from recsys_batch.training.shop.job import TrainingJob
from recsys_batch.training.tune.search import TuneResult
from recsys_batch.training.tune.shop import search_folder, searched_block, tune_shop

log = logging.getLogger("recsys_batch.night")


def prepare_search(lake: Lake, config: Config, ds: date) -> TrainingJob:
    """Export the examples and return the training whose settings are searched; Spark is not needed after that.

    Raises ConfigError where the block `tune` is missing or does not fit, and what `prepare_job` raises.
    """
    searched_block(_settings(config), config.training)  # refused before Spark writes anything
    return prepare_job(lake, config, ds)[0]


def search(config: Config, job: TrainingJob, *, fresh: bool = False) -> tuple[TuneResult, Path]:
    """Search, or go on with the search, and return what was found and the search's folder.

    Raises what `tune_shop` raises.
    """
    settings = _settings(config)
    folder = search_folder(open_registry(config).root, settings, job)
    if fresh and folder.exists():
        shutil.rmtree(folder)
    log.info("searching %s: %s; curves: tensorboard --logdir %s", job.settings.model, folder, folder)
    return tune_shop(settings, job, folder, config.tracking), folder


def _settings(config: Config) -> Tune:
    if config.tune is None:
        raise ConfigError(
            "tune is null; name what to search, such as `tune: {metric: search.ndcg@10, space: "
            "{loop.optimizer.learning_rate: {low: 0.00001, high: 0.0003, log: true}}}` (see docs/training.md)"
        )
    return config.tune
