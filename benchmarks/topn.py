"""Exact top-k throughput: `exact_topk` against faiss IndexFlatIP, same vectors, k and threads; results are checked.

Prints one JSON line.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import faiss
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from recsys_batch.nn.scoring.topk import ItemBlock, TopK, exact_topk

BLOCK_ITEMS = 50_000


def unit_vectors(num_rows: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Return random float32 vectors of length 1."""
    rows = rng.standard_normal((num_rows, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def count_unexplained(found: TopK, scores: np.ndarray, indices: np.ndarray) -> int:
    """Count queries whose item sets differ though no score within 1e-5 of the last one could explain it as a tie."""
    unexplained = 0
    for ours, our_scores, theirs, their_scores in zip(
        found.indices_QK.numpy(), found.scores_QK.numpy(), indices, scores, strict=True
    ):
        boundary = max(our_scores[-1], their_scores[-1]) + 1e-5
        unexplained += set(ours[our_scores > boundary]) - set(theirs) != set()
        unexplained += set(theirs[their_scores > boundary]) - set(ours) != set()
    return unexplained


def main() -> None:
    """Parse, run both sides in turns, check, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=4_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    rng = np.random.default_rng(options.seed)
    items, queries = unit_vectors(options.items, options.dim, rng), unit_vectors(options.queries, options.dim, rng)
    index = faiss.IndexFlatIP(options.dim)
    index.add(items)
    starts = range(0, options.items, BLOCK_ITEMS)
    blocks = [ItemBlock(start, torch.from_numpy(items[start : start + BLOCK_ITEMS])) for start in starts]
    exact_topk(torch.from_numpy(queries[:200]), blocks, options.k)
    index.search(queries[:200], options.k)

    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(options.rounds):
        started = time.perf_counter()
        found = exact_topk(torch.from_numpy(queries), blocks, options.k)
        seconds["ours"].append(time.perf_counter() - started)
        started = time.perf_counter()
        scores, indices = index.search(queries, options.k)
        seconds["theirs"].append(time.perf_counter() - started)
    ours, theirs = (options.queries / statistics.median(seconds[side]) for side in ("ours", "theirs"))
    record = {
        "benchmark": "topn",
        "peer": f"faiss {faiss.__version__} IndexFlatIP",
        "ratio": round(ours / theirs, 3),
        "ours": round(ours, 1),
        "theirs": round(theirs, 1),
        "unit": "queries/s",
        "threads": options.threads,
        "num_queries": options.queries,
        "num_items": options.items,
        "dim": options.dim,
        "k": options.k,
        "rounds": options.rounds,
        "max_abs_difference": float(np.abs(found.scores_QK.numpy() - scores).max()),
        "queries_with_other_items": count_unexplained(found, scores, indices),
        "all_seconds": {side: [round(value, 2) for value in taken] for side, taken in seconds.items()},
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
