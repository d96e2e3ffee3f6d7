"""Training on the shop's own data: from a finished dataset to a registered version, and perhaps the champion.

Spark exports the examples; the training itself (`training.shop`) needs no JVM, and reads files.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from recsys_batch.contracts.config.models import ANCHOR_ALONE, Training
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.config.tasks import Anchor, Tagging
from recsys_batch.contracts.datasets import DatasetManifest
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.spark.datasets.export import export_examples
from recsys_batch.spark.distribute import run_distributed
from recsys_batch.spark.lake.manifests import read_manifest
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import is_local
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.registry.find import encoder_settings, find_model, open_registry
from recsys_batch.training.registry.versions import Registry
from recsys_batch.training.shop.curves import OpenCurves, curves_folder
from recsys_batch.training.shop.job import Outcome, TrainingJob, version_examples
from recsys_batch.training.shop.release import promote_run, register_run
from recsys_batch.training.shop.run import find_task, pick_device, run_training

log = logging.getLogger("recsys_batch.night")


@dataclass(frozen=True)
class TrainOptions:
    """How to run, as against what to learn."""

    tasks: Sequence[str] = ()
    """Names in `training.tasks`; none: all of them."""
    fresh: bool = False
    """Start over, whatever an earlier run of the same settings and data left."""
    promote: bool = True
    """Whether the champion may move, where `training.promotion.automatic` allows it."""


@dataclass(frozen=True)
class TrainReport:
    """What a training job did."""

    model: str
    version: str
    outcome: Outcome
    is_champion: bool
    reason: str
    """Why it is the champion, or why not."""


def train_models(lake: Lake, config: Config, ds: date, options: TrainOptions = TrainOptions()) -> TrainReport:
    """Train `training.tasks` on the dataset of `ds`, register the version, and promote it where it is not worse.

    The same call again goes on with an interrupted run, and trains nothing where it was finished.

    Raises ConfigError for settings that do not fit, ManifestNotFoundError where the dataset is not finished,
    EmptyTaskError and LabelOutOfRangeError for its examples, and what `loop.train` and `promotion.promote` raise; a
    challenger that is worse is no error.
    """
    registry = open_registry(config)
    job, manifest = prepare_job(lake, config, ds, options.tasks)
    settings = job.settings
    if options.fresh and job.folder.exists():
        shutil.rmtree(job.folder)
    curves = OpenCurves(config.tracking, str(curves_folder(registry.root, settings.model)), not options.fresh)
    log.info("training %s: %s; curves: tensorboard --logdir %s", settings.model, job.folder, curves.folder)
    if settings.processes > 1:
        use_gpu = job.device == "cuda"
        outcome = run_distributed(lake.spark, run_training, [job, curves], settings.processes, use_gpu)
    else:
        outcome = run_training(job, curves)
    version = register_run(registry, job, outcome, _describe(manifest))
    verdict = promote_run(registry, job, version, outcome, is_wanted=options.promote)
    return TrainReport(settings.model, version, outcome, verdict.is_champion, verdict.reason)


def prepare_job(lake: Lake, config: Config, ds: date, tasks: Sequence[str] = ()) -> tuple[TrainingJob, DatasetManifest]:
    """Export the examples of a finished dataset; return the job that learns `tasks` (none: all) and the manifest.

    Raises ConfigError, ManifestNotFoundError, and what finding the model to start from raises.
    """
    settings = _choose(config, tasks)
    manifest = read_manifest(lake, settings.split, ds)
    return _make_job(lake, config, settings, manifest, open_registry(config)), manifest


def _choose(config: Config, names: Sequence[str]) -> Training:
    """Return the training settings with the tasks of these names."""
    settings = config.training
    if not settings.tasks:
        raise ConfigError(
            "training.tasks is empty; name what to learn, such as `tasks: [{kind: query_items}]` (see docs/training.md)"
        )
    if settings.split not in (known := [split.name for split in config.datasets.splits]):
        raise ConfigError(f"training.split: {settings.split!r} is none of datasets.splits: {', '.join(known)}")
    if not names:
        return settings
    chosen = {find_task(settings.tasks, name).name for name in names}
    tasks = [task for task in settings.tasks if task.name in chosen]
    if all(isinstance(task, Anchor) for task in tasks):
        raise ConfigError(ANCHOR_ALONE)
    return settings.model_copy(update={"tasks": tasks})


def _make_job(
    lake: Lake, config: Config, settings: Training, manifest: DatasetManifest, registry: Registry
) -> TrainingJob:
    """Export the examples, and say what to do with them."""
    name = settings.start or config.encoder.model
    start = find_model(config, name, settings.start_revision if settings.start else config.encoder.revision)
    encoder = encoder_settings(config, start)
    ds = date.fromisoformat(manifest.ds)
    folder = export_examples(lake, settings.split, ds, config.datasets.category_levels)
    hashes = {"tables": asdict(manifest)["tables"], "category_levels": config.datasets.category_levels}
    read_besides = [
        *(
            file
            for t in settings.tasks
            if isinstance(t, Tagging)
            for file in (t.file, t.valid_file, t.test_file)
            if file
        ),
        *([*settings.augment.lexicons, settings.augment.paraphrase_file] if settings.augment is not None else []),
    ]
    return TrainingJob(
        examples=folder,
        data_version=version_examples(hashes, ExampleFiles(folder), read_besides),
        start=str(start),
        runs=str(registry.root / settings.model / "runs"),
        settings=settings,
        max_tokens=settings.max_tokens or config.encoder.max_tokens,
        pooling=encoder.pooling_of(start),
        prefixes=(encoder.prefix("query", start), encoder.prefix("document", start)),
        device=_choose_device(lake, settings),
    )


def _choose_device(lake: Lake, settings: Training) -> str:
    """Return cpu or cuda; with several processes it is Spark that knows of GPUs, the driver may have none."""
    if settings.processes <= 1:
        return pick_device(settings.device)
    if settings.device != "auto":
        return settings.device
    who = "driver" if is_local(lake.spark) else "task"
    amount = lake.spark.sparkContext.getConf().get(f"spark.{who}.resource.gpu.amount", "0") or "0"
    return "cuda" if float(amount) > 0 else "cpu"


def _describe(manifest: DatasetManifest) -> dict[str, Any]:
    """Return what a version says of its dataset."""
    return {
        "split": manifest.name,
        "ds": manifest.ds,
        "source_run_id": manifest.source_run_id,
        "tables": asdict(manifest)["tables"],
    }
