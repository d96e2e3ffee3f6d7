"""Training on the shop's own data: from a finished dataset to a registered version, and perhaps the champion.

Spark exports the examples; the training itself (`training.shop`) needs no JVM, and reads files.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from recsys_batch.contracts.config import Config
from recsys_batch.contracts.datasets import DatasetManifest
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.identity import code_version
from recsys_batch.contracts.model_version import ModelVersion
from recsys_batch.contracts.models_config import Training
from recsys_batch.contracts.task_config import Tagging
from recsys_batch.night.models import encoder_settings, find_model, open_registry
from recsys_batch.nn.model_files import fingerprint_model
from recsys_batch.spark.distribute import run_distributed
from recsys_batch.spark.manifests import read_manifest
from recsys_batch.spark.session import is_local
from recsys_batch.spark.tables import Lake
from recsys_batch.spark.training_data import export_examples
from recsys_batch.training.example_files import ExampleFiles
from recsys_batch.training.promotion import ChallengerWorseError, promote
from recsys_batch.training.registry import Cases, Registry, name_of_folder
from recsys_batch.training.shop.job import CHECKPOINTS, MODEL, Outcome, TrainingJob, read_cases, version_examples
from recsys_batch.training.shop.run import find_task, measure_model, name_version_cases, pick_device, run_training

log = logging.getLogger("recsys_batch.night")
_REGISTERED = "registered.json"


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
    settings = _choose(config, options.tasks)
    manifest = read_manifest(lake, settings.split, ds)
    registry = open_registry(config)
    job = _make_job(lake, config, settings, manifest, registry)
    if options.fresh and job.folder.exists():
        shutil.rmtree(job.folder)
    log.info("training %s: %s", settings.model, job.folder)
    if settings.processes > 1:
        use_gpu = job.device == "cuda"
        outcome = run_distributed(lake.spark, run_training, [job], settings.processes, use_gpu)
    else:
        outcome = run_training(job)
    version = _register(registry, job, manifest, outcome)
    is_champion, reason = _promote(registry, job, version, outcome, options.promote)
    return TrainReport(settings.model, version, outcome, is_champion, reason)


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
    return settings.model_copy(update={"tasks": [task for task in settings.tasks if task.name in chosen]})


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


def _register(registry: Registry, job: TrainingJob, manifest: DatasetManifest, outcome: Outcome) -> str:
    """Register what the run left and return its version; a run that was registered keeps its version."""
    noted = job.folder / _REGISTERED
    name = job.settings.model
    if noted.is_file():
        return registry.read(name, json.loads(noted.read_text(encoding="utf-8"))["version"]).version
    start = Path(job.start)
    parent = name_of_folder(start).replace("@", "/") or fingerprint_model(start)
    stored = registry.register(
        ModelVersion(
            name=name,
            kind="encoder",
            settings={
                "training": job.settings.model_dump(mode="json"),
                "encoder": {"max_tokens": job.max_tokens, "pooling": job.pooling, "prefixes": list(job.prefixes)},
            },
            data={
                "split": manifest.name,
                "ds": manifest.ds,
                "source_run_id": manifest.source_run_id,
                "tables": asdict(manifest)["tables"],
                "examples": dict(outcome.examples),
                "data_version": job.data_version,
            },
            metrics={**outcome.after, **outcome.costs, **{f"before/{k}": v for k, v in outcome.before.items()}},
            parents=(parent,),
            code_version=code_version(),
            seed=job.settings.loop.seed,
        ),
        job.folder / MODEL,
        read_cases(job.folder),
    )
    noted.write_text(json.dumps({"version": stored.version}), encoding="utf-8")
    for folder in (MODEL, CHECKPOINTS):  # what they held is in the registry
        shutil.rmtree(job.folder / folder, ignore_errors=True)
    return stored.version


def _promote(registry: Registry, job: TrainingJob, version: str, outcome: Outcome, is_wanted: bool) -> tuple[bool, str]:
    """Return whether the version is the champion now, and why or why not."""
    settings, name = job.settings.promotion, job.settings.model
    before = registry.champion(name)
    if before is not None and before.version == version:
        return True, before.reason
    if not is_wanted or not settings.automatic:
        return False, "not promoted: " + ("training.promotion.automatic is false" if is_wanted else "--no-promote")
    metric = settings.metric or outcome.main_metrics[job.settings.tasks[0].name]
    task, _, measure = metric.removeprefix("-").partition(".")
    sign = "-" if metric.startswith("-") else ""

    def measure_champion(model: Path) -> Cases:
        measured = measure_model(job, model, task)
        return name_version_cases(measured, job.data_version).get(f"{sign}{measure}", {})

    try:
        promote(
            registry,
            name,
            version,
            metric,
            tolerance=settings.tolerance,
            min_cases=settings.min_cases,
            measure=measure_champion,
            seed=job.settings.loop.seed,
        )
    except ChallengerWorseError as error:
        return False, str(error)
    champion = registry.champion(name)
    assert champion is not None  # it was moved just now  # noqa: S101
    return champion.version == version, champion.reason
