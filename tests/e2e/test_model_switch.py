"""Real nights whose encoder and storage change and change back, and the maintenance job between them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from recsys_batch.report.summary import RunSummary
from tests.conftest import ROOT
from tests.e2e.conftest import DS
from tests.e2e.test_night import TABLES, content_of, read

OTHER_MODEL = "encoder.max_tokens=24"


def maintain_command(lake: Path, status: Path) -> list[str]:
    command = ["spark-submit", "--properties-file", "conf/spark/local.conf", "jobs/maintain.py"]
    settings = (f"lake.root={lake}", "maintain.keep_nights=1", "maintain.retention_hours=0")
    sets = [part for setting in settings for part in ("--set", setting)]
    return [*command, "--config", "conf/demo.yaml", *sets, "--status-file", str(status)]


@pytest.mark.long
def test_a_switch_of_model_and_storage_and_back(
    spark, published: tuple[Path, RunSummary], night, tmp_path: Path, demo_shop: Path
) -> None:
    lake = Path(shutil.copytree(published[0], tmp_path / "copy"))
    before = {table: content_of(spark, lake, table) for table in TABLES}
    # Storage alone: every vector is there already.
    packed = night("encoder.storage=float16", lake=lake, force=True)
    assert packed.counts["encode.document_encoded"] == packed.counts["encode.query_encoded"] == 0
    assert "encode.document_max_cosine_loss" not in packed.counts
    # Another encoder beside the first, packed from the start.
    other = night("encoder.storage=float16", OTHER_MODEL, lake=lake, force=True)
    assert other.counts["encode.document_encoded"] == other.counts["encode.document_texts"] > 0
    assert 0 < other.counts["encode.document_max_cosine_loss"] < 1e-6
    assert 0 < other.counts["encode.query_max_cosine_loss"] < 1e-6
    rows = (
        read(spark, lake, "embeddings")
        .groupBy("fingerprint")
        .agg(F.count("vector").alias("full"), F.count("vector_f16").alias("halves"))
    )
    assert sorted((row.full > 0, row.halves > 0) for row in rows.collect()) == [(False, True)] * 2 + [(True, False)] * 2
    assert content_of(spark, lake, "similar_items") != before["similar_items"]
    # Maintenance between them: both encoders made releases of the retained night, so nothing is unused.
    env = os.environ | {"DEMO_SHOP": str(demo_shop)}
    status = tmp_path / "status.json"
    done = subprocess.run(
        maintain_command(lake, status), cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    counts = json.loads(status.read_text(encoding="utf-8"))["counts"]
    assert counts["vectors.encoders_in_use"] == 4
    assert counts["vectors.unused"] == counts["vectors.removed"] == counts["runs.folders_removed"] == 0
    assert counts["files.small_files_merged"] > 0
    assert f"maintain demo nights from {DS}: done" in " ".join(done.stdout.split())
    # Back again: nothing is encoded, and the lists are what they were.
    back = night(lake=lake, force=True)
    assert back.counts["encode.document_encoded"] == back.counts["encode.query_encoded"] == 0
    assert {table: content_of(spark, lake, table) for table in TABLES} == before
