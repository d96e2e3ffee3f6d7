"""Item factors of Spark ALS, and what is scored with them."""

import numpy as np
import pyarrow as pa
from pyspark.ml.recommendation import ALS

from recsys_batch.rules.baselines.log import Log
from recsys_batch.rules.baselines.scorers import factors
from recsys_batch.spark.evaluation.als import item_factors


def test_scores_are_those_of_spark_and_the_same_every_time(spark, tmp_path):
    draw = np.random.default_rng(3)
    keys, items = np.nonzero(draw.random((30, 12)) < 0.3)
    known = Log(keys, items, np.zeros(len(keys)), 30, 13)
    settings = {"rank": 4, "alpha": 5.0, "l2": 0.1}
    found = item_factors(spark, keys, items, 13, str(tmp_path), **settings, seed=7)
    scores = factors(found, settings["alpha"], settings["l2"])(known, np.arange(30))
    assert not found[12].any()

    pairs = spark.createDataFrame(
        pa.table(
            {"key": keys.astype(np.int32), "item": items.astype(np.int32), "rating": np.ones(len(keys), np.float32)}
        )
    )
    peer = ALS(rank=4, maxIter=10, regParam=0.1, alpha=5.0, implicitPrefs=True, seed=7, userCol="key", itemCol="item")
    model = peer.setRatingCol("rating").setNumBlocks(4).setCheckpointInterval(3).fit(pairs.coalesce(1))
    for row in model.transform(pairs).collect():
        assert abs(scores[row["key"], row["item"]] - row.prediction) < 1e-4
    again = item_factors(spark, keys, items, 13, str(tmp_path), **settings, seed=7)
    assert np.array_equal(found, again)
