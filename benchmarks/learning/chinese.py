"""Chinese from nothing: tokenizer and encoder pre-trained on a shop's texts, then tuned to tag titles and to search.

Prints the held-out perplexity of hidden words before and after, the entity scores on the test titles, and what stands
first for the query 华为手机, with the ranks of accessories and of other phones. A JSON line a step. Every step is kept
under `--out`, and a run that was stopped goes on inside the step.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.learning.chinese_data import load_corpus, load_goods, load_titles, published_titles  # noqa: E402
from benchmarks.learning.chinese_search import search  # noqa: E402
from benchmarks.learning.chinese_tagging import tag  # noqa: E402
from recsys_batch.contracts.config.pretrain import Architecture, Pretrain, PretrainTokenizer  # noqa: E402
from recsys_batch.contracts.config.training import Loop, Optimizer  # noqa: E402
from recsys_batch.training.examples.columns import TaggedTexts  # noqa: E402
from recsys_batch.training.pretrain.run import pretrain  # noqa: E402

MAX_TOKENS = 64
STEPS = ["pretrain", "tagging", "tagging_as_published", "search"]


def main() -> None:
    """Parse, take the steps that were not taken, print."""
    options = parse()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    folder = options.data / "chinese"
    titles, published = load_titles(folder), published_titles(folder)
    if options.quick:
        titles, published = shorten(titles), shorten(published)
    model = options.out / "pretrained" / "model"
    steps = {
        "pretrain": lambda: pretrain_step(folder, titles["train"], options),
        "tagging": lambda: tag(model, titles, options, "tagging"),
        "tagging_as_published": lambda: tag(model, published, options, "tagging_as_published"),
        "search": lambda: search(model, load_goods(folder, load_titles(folder)), options),
    }
    for name in options.steps:
        print(json.dumps({"step": name, **once(options.out / f"{name}.json", steps[name])}, ensure_ascii=False))


def shorten(titles: dict[str, TaggedTexts]) -> dict[str, TaggedTexts]:
    """Return the first titles of every part."""
    return {part: TaggedTexts(found.words[:200], found.tags[:200]) for part, found in titles.items()}


def parse() -> argparse.Namespace:
    """Return the command line; `--quick` shrinks everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "lake" / "models" / "chinese")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4, help="passes over the corpus")
    parser.add_argument("--tagging-epochs", type=int, default=10)
    parser.add_argument("--adversarial", action="store_true", help="tag with perturbed embeddings too: twice the time")
    parser.add_argument("--search-epochs", type=int, default=2)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=12_000)
    parser.add_argument("--quick", action="store_true", help="a small network, some steps of everything: no result")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    options.max_tokens = MAX_TOKENS
    if options.quick:
        options.out = options.out.with_name(f"{options.out.name}-quick")
        options.epochs = options.tagging_epochs = options.search_epochs = 1
        options.layers, options.hidden, options.vocabulary = 1, 64, 2_000
    return options


def pretrain_step(folder: Path, titles: TaggedTexts, options: argparse.Namespace) -> dict[str, Any]:
    """Pre-train by hiding whole words; return the held-out figures before and after."""
    settings = Pretrain(
        architecture=Architecture(
            hidden_size=options.hidden, num_layers=options.layers, num_heads=4, max_positions=MAX_TOKENS
        ),
        tokenizer=PretrainTokenizer(vocab_size=options.vocabulary),
        max_tokens=MAX_TOKENS,
        dropout=0.0,
        max_held_out=200 if options.quick else 1_000,
        loop=Loop(
            seed=options.seed,
            epochs=options.epochs,
            batch_size=128,
            precision="bfloat16",
            checkpoint_every=200,
            optimizer=Optimizer(learning_rate=1e-3, head_learning_rate=1e-3, layer_decay=1.0, warmup_share=0.06),
        ),
    )
    corpus = load_corpus(folder, titles, settings.held_out_share, options.quick)
    result = pretrain(settings, corpus, None, options.out / "pretrained")
    before, after = result.before["masked.perplexity"], result.after["masked.perplexity"]
    print(f"held-out perplexity of hidden tokens: {before:.1f} before, {after:.1f} after {result.trained.steps} steps")
    return {
        "texts": result.num_train,
        "vocabulary": result.vocab_size,
        "perplexity_before": before,
        "perplexity_after": after,
        "steps": result.trained.steps,
        "seconds": result.trained.seconds,
        "tokens_per_second": result.trained.tokens_per_second,
    }


def once(file: Path, step: Any) -> dict[str, Any]:
    """Return a step's figures, from its file where it was taken."""
    if not file.is_file():
        started = time.monotonic()
        found = {**step(), "wall_seconds": time.monotonic() - started}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    found = json.loads(file.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


if __name__ == "__main__":
    main()
