"""With a key in the environment no table holds a raw user id, and the real id still finds its rows."""

from pathlib import Path

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.pipeline import run_night
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.shown import known_user
from tests.e2e.conftest import DS, small_config

KEY = "TEST_PSEUDONYM_KEY"


def test_no_table_of_the_lake_holds_a_raw_user_id(
    spark, demo_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(demo_shop, tmp_path / "lake", f"prepare.pseudonymize_with={KEY}")
    summary = RunSummary(config.name, DS.isoformat())
    with pytest.raises(ConfigError, match=KEY):
        run_night(spark, config, DS, NightOptions(stage="prepare"), summary)
    monkeypatch.setenv(KEY, "a secret of some length")
    run_night(spark, config, DS, NightOptions(stage="prepare"), summary)
    lake = Lake.at(spark, config.lake.root)
    tables = sorted(str(log.parent.relative_to(tmp_path / "lake")) for log in (tmp_path / "lake").rglob("_delta_log"))
    held = [name for name in tables if "user_id" in lake.read(name).columns]
    assert {"input_log/events", "interactions", "events_quarantine", "user_histories", "reviews"} <= set(held)
    for name in held:
        ids = lake.read(name).where("user_id IS NOT NULL")
        assert ids.count() > 0
        assert ids.where("user_id NOT RLIKE '^[0-9a-f]{32}$'").count() == 0, name
    # The index of users names them too.
    users = lake.read("id_indices").where("kind = 'user'")
    assert users.where("id NOT RLIKE '^[0-9a-f]{32}$'").count() == 0
    # Testers are told by their real ids, before those are gone.
    assert summary.counts["prepare.events_quarantined_test_account"] > 0
    events = spark.read.parquet(str(demo_shop / "events"))
    real = events.where("event_type = 'rating' AND user_id RLIKE '^u[0-9]{7}$'").first().user_id  # no bot rates
    assert lake.read("interactions").where(F.col("user_id") == known_user(real, config.prepare)).count() > 0
