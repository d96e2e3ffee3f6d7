"""What the shop's people should label next: the champion chooses from exported examples, Spark writes the table."""

from datetime import date

import pyarrow as pa
from pyspark.sql import functions as F

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.label_requests import LABEL_REQUESTS, LABEL_REQUESTS_DDL
from recsys_batch.contracts.model_version import ModelVersionNotFoundError
from recsys_batch.learn.pretrain import open_examples
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import make_frame
from recsys_batch.training.labeling.shop import choose_labels
from recsys_batch.training.registry.find import open_registry
from recsys_batch.training.shop.run import pick_device


def choose_config(config: Config, ds: date) -> pa.Table:
    """Return what to label (LABEL_REQUESTS_SCHEMA), by the champion of `training.model` and the examples of `ds`.

    Raises ModelVersionNotFoundError where there is no champion, ExamplesNotFoundError where nothing was exported, and
    what `choose_labels` raises.
    """
    registry, training = open_registry(config), config.training
    champion = registry.champion(training.model)
    if champion is None:
        raise ModelVersionNotFoundError(f"{registry.root}: model {training.model!r} has no champion; train one first")
    return choose_labels(
        config.label,
        training.tasks,
        registry.read(training.model, champion.version),
        registry.model_folder(training.model, champion.version),
        open_examples(config, training.split, ds),
        pick_device(training.device),
    )


def write_requests(lake: Lake, requests: pa.Table, ds: date) -> None:
    """Write the table `label_requests` of a date, in place of an earlier one."""
    lake.ensure(LABEL_REQUESTS, f"{LABEL_REQUESTS_DDL}, ds DATE", ("ds",))
    frame = make_frame(
        lake.spark, [tuple(row.values()) for row in requests.to_pylist()], LABEL_REQUESTS_DDL
    ).withColumn("ds", F.lit(ds))
    lake.replace_ds(LABEL_REQUESTS, frame, ds)
