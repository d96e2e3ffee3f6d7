"""One training run of the shop, in this process or in every process of a group: build, measure, train, measure, keep.

The run leaves a model directory that `nn.Encoder` loads, its heads below `heads/`, and its results beside it.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from recsys_batch.contracts.config.tasks import AugmentSettings, TaskBlock
from recsys_batch.contracts.errors import ConfigError, SourceNotFoundError
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.augment.augmenter import Augmenter
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.loop import distributed
from recsys_batch.training.loop.preflight import check_before_start
from recsys_batch.training.loop.run import Tracker, TrainResult, train
from recsys_batch.training.registry.versions import Cases
from recsys_batch.training.shop.base import Measured, Shared
from recsys_batch.training.shop.job import (
    CHECKPOINTS,
    MODEL,
    Outcome,
    TrainingJob,
    open_task,
    read_outcome,
    write_outcome,
)

log = logging.getLogger("recsys_batch.training")
_TIMED_TEXTS = 512


OpenTracker = Callable[[TrainingJob], AbstractContextManager[Tracker]]


def run_training(job: TrainingJob, open_tracker: OpenTracker | None = None) -> Outcome:
    """Train what the job says, or go on with that, and return what the finished model reaches.

    A run that is finished already is not trained again. In a group of processes (`distributed.join_group`) all call
    this; the first one measures and writes. `open_tracker` says where the curves go. Raises what `loop.train` and
    the tasks raise.
    """
    finished = read_outcome(job.folder)
    if finished is not None:
        return finished
    with distributed.join_group(job.device) as device:
        outcome = _Run(job, device).train(open_tracker)
        distributed.wait_for_all()
        return outcome


def run_trial(job: TrainingJob, folder: Path, open_tracker: OpenTracker) -> TrainResult:
    """Train what the job says with checkpoints in `folder`, or go on with that; measure on the part valid alone.

    Nothing is kept but the checkpoints, and the part test is not looked at. Raises what `loop.train`, the tasks and the
    tracker raise.
    """
    return _Run(job, job.device).learn(folder, open_tracker)


def measure_model(job: TrainingJob, model: Path, task_name: str) -> Measured:
    """Return what a finished model reaches at one of the job's tasks, on the job's test part.

    Raises ConfigError where the job has no such task, or the model was not trained for it.
    """
    network = TextNetwork.load(model, job.max_tokens, job.pooling).to(job.device)
    shop_task = open_task(find_task(job.settings.tasks, task_name), _share(job), network, model)
    shop_task.task.module.to(job.device)
    return shop_task.measure()


def find_task(tasks: Sequence[TaskBlock], name: str) -> TaskBlock:
    """Return the task of this name. Raises ConfigError where there is none."""
    for task in tasks:
        if task.name == name:
            return task
    raise ConfigError(f"training.tasks: no task is named {name!r}; there are: {', '.join(t.name for t in tasks)}")


def pick_device(wanted: str) -> str:
    """Return cpu or cuda for a process of its own. Raises ConfigError where cuda is wanted and torch has none."""
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise ConfigError("training.device is cuda, and torch finds no GPU here; use auto or cpu, or another machine")
    return "cuda" if has_gpu and wanted != "cpu" else "cpu"


def name_version_cases(measured: Measured, data_version: str) -> dict[str, dict[str, float]]:
    """Return the cases named by the data they belong to: the same query on another date is another case."""
    return {
        metric: {f"{data_version}/{case}": value for case, value in values.items()}
        for metric, values in measured.cases.items()
    }


class _Run:
    def __init__(self, job: TrainingJob, device: str) -> None:
        self.job, self.device = job, device
        self.network = TextNetwork.load(Path(job.start), job.max_tokens, job.pooling)
        if job.settings.adapter is not None:
            from recsys_batch.training.shop.adapters import add_adapter  # needs peft, which only this needs

            add_adapter(self.network, job.settings.adapter)
        self.network.to(device)
        shared = _share(job)
        self.files = shared.files
        self.tasks = [open_task(settings, shared, self.network) for settings in job.settings.tasks]
        for shop_task in self.tasks:
            shop_task.task.module.to(device)
        check_before_start([shop_task.task for shop_task in self.tasks], job.settings.loop, device)

    def train(self, open_tracker: OpenTracker | None) -> Outcome:
        job, is_first = self.job, distributed.rank() == 0
        before: dict[str, float] = {}
        if is_first:
            job.folder.mkdir(parents=True, exist_ok=True)
            before, _ = self._measure()
            _log_metrics("before training", before)
        distributed.wait_for_all()
        result = self.learn(job.folder / CHECKPOINTS, open_tracker)
        if job.settings.adapter is not None:
            from recsys_batch.training.shop.adapters import merge_adapter

            merge_adapter(self.network)
        examples = {shop_task.task.name: len(shop_task.task) for shop_task in self.tasks}
        main = {
            shop_task.task.name: _full_name(shop_task.task.name, shop_task.main_metric)
            for shop_task in self.tasks
            if shop_task.main_metric
        }
        outcome = Outcome(examples, before, {}, main, {})
        if is_first:
            after, cases = self._measure()
            _log_metrics("after training", after)
            outcome = Outcome(examples, before, after, main, self._costs(result))
            self._write(outcome, cases)
        return outcome

    def learn(self, checkpoints: Path, open_tracker: OpenTracker | None) -> TrainResult:
        """Train, or go on, and return what the loop did."""
        with open_tracker(self.job) if open_tracker is not None else nullcontext() as track:
            return train(
                [shop_task.task for shop_task in self.tasks],
                self.job.settings.loop,
                checkpoints,
                device=self.device,
                track=track,
                data_version=self.job.data_version,
            )

    def _measure(self) -> tuple[dict[str, float], dict[str, Cases]]:
        """Return `task.metric` on the test part, and its cases."""
        metrics: dict[str, float] = {}
        cases: dict[str, Cases] = {}
        for shop_task in self.tasks:
            name, measured = shop_task.task.name, shop_task.measure()
            metrics |= {f"{name}.{metric}": float(value) for metric, value in measured.metrics.items()}
            named = name_version_cases(measured, self.job.data_version)
            cases |= {_full_name(name, metric): values for metric, values in named.items()}
        return metrics, cases

    def _write(self, outcome: Outcome, cases: dict[str, Cases]) -> None:
        folder = self.job.folder
        staged, target = folder / f".{MODEL}", folder / MODEL
        for old in (staged, target):
            shutil.rmtree(old, ignore_errors=True)
        self.network.save(staged)
        for shop_task in self.tasks:
            shop_task.save(staged)
        staged.rename(target)
        write_outcome(folder, outcome, cases)

    def _costs(self, result: TrainResult) -> dict[str, float]:
        texts = list(self.files.item_texts.values())[:_TIMED_TEXTS]
        embed_texts(self.network, texts[:8])  # the first shapes cost more
        started = time.monotonic()
        embed_texts(self.network, texts)
        seconds = max(time.monotonic() - started, 1e-9)
        return {
            "num_parameters": float(sum(parameter.numel() for parameter in self.network.parameters())),
            "texts_per_second": len(texts) / seconds,
            "train_steps": float(result.steps),
            "train_seconds": result.seconds,
            "train_examples_per_second": result.examples_per_second,
        }


def _share(job: TrainingJob) -> Shared:
    settings = job.settings
    return Shared(
        ExampleFiles(job.examples),
        job.prefixes,
        _open_augmenter(settings.augment) if settings.augment is not None else None,
        settings.loop.precision == "bfloat16",
        settings.loop.seed,
    )


def _open_augmenter(settings: AugmentSettings) -> Augmenter:
    paraphrases: dict[str, list[str]] = {}
    if settings.paraphrase_file:
        file = Path(settings.paraphrase_file)
        if not file.is_file():
            raise SourceNotFoundError(f"training.augment.paraphrase_file: {file}: no such file; correct the path")
        try:
            paraphrases = {
                str(text): list(map(str, others)) for text, others in json.loads(file.read_text("utf-8")).items()
            }
        except (ValueError, AttributeError, TypeError) as error:
            raise ConfigError(f"{file}: expected a JSON object, text -> list of paraphrases ({error})") from error
    try:
        return Augmenter(settings, paraphrases)
    except ValueError as error:
        raise ConfigError(f"training.augment: {error}") from error


def _full_name(task: str, metric: str) -> str:
    """Return `task.metric`, a minus in front where lower is better."""
    return f"-{task}.{metric[1:]}" if metric.startswith("-") else f"{task}.{metric}"


def _log_metrics(when: str, metrics: dict[str, float]) -> None:
    log.info(
        "test part, %s: %s", when, ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "nothing"
    )
