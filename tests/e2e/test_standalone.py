"""The night on a real standalone cluster (one master, two workers) gives the tables of local mode."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_batch.report.summary import RunSummary
from tests.conftest import ROOT
from tests.e2e.conftest import DS

PORT = "7188"
KEYS = {"user_recommendations": "user_id", "query_recommendations": "query", "similar_items": "item_id"}


@pytest.fixture(scope="module")
def master() -> Iterator[str]:
    env = os.environ | {"CLUSTER_PORT": PORT}
    started = subprocess.run(
        ["conf/spark/cluster.sh", "start"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    try:
        assert started.returncode == 0, started.stderr
        yield f"spark://127.0.0.1:{PORT}"
    finally:
        subprocess.run(["conf/spark/cluster.sh", "stop"], cwd=ROOT, env=env, check=True, timeout=60)


@pytest.mark.long
def test_a_standalone_cluster_gives_the_tables_of_local_mode(
    spark, demo_shop: Path, published: tuple[Path, RunSummary], master: str, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    settings = (
        f"lake.root={lake}",
        "rerank.top_n=8",
        "lists.queries=12",
        "prepare.profile=false",
        "encoder.dtype=float32",
    )
    command = ["spark-submit", "--properties-file", "conf/spark/standalone.conf", "--master", master]
    command += [
        "--conf",
        "spark.driver.host=127.0.0.1",
        "--conf",
        "spark.executor.memory=1g",
        "--conf",
        "spark.driver.memory=1g",
    ]
    command += ["jobs/nightly.py", "--config", "conf/demo.yaml", "--ds", str(DS)]
    command += [part for setting in settings for part in ("--set", setting)]
    env = os.environ | {"DEMO_SHOP": str(demo_shop)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:]
    for table, key in KEYS.items():
        assert_same_lists(lists(spark, published[0], table, key), lists(spark, lake, table, key))


def lists(spark, lake: Path, table: str, key: str) -> dict[str, dict[str, float]]:
    """Key -> item -> score."""
    item = "similar_item_id" if table == "similar_items" else "item_id"
    found: dict[str, dict[str, float]] = {}
    for row in spark.read.format("delta").load(f"{lake}/{table}").orderBy(key, "rank").collect():
        found.setdefault(row[key], {})[row[item]] = row["score"]
    return found


def assert_same_lists(local: dict[str, dict[str, float]], cluster: dict[str, dict[str, float]]) -> None:
    """Same keys, items and scores; ranks may swap, and the last place change hands, only between equal scores."""
    assert local.keys() == cluster.keys()
    assert local
    for key, scores in local.items():
        others = cluster[key]
        assert sorted(scores.values(), reverse=True) == pytest.approx(sorted(others.values(), reverse=True), abs=1e-5)
        for item in scores.keys() & others.keys():
            assert scores[item] == pytest.approx(others[item], abs=1e-5)
        last = min(scores.values())
        for item in scores.keys() ^ others.keys():
            assert (scores | others)[item] == pytest.approx(last, abs=1e-5)
