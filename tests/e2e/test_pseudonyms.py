"""With a key in the environment no table holds a raw user id, and the real id still finds its rows."""

import re
import shutil
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.pipeline import run_night
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.shown import known_user
from recsys_batch.upkeep.maintain import maintain
from tests.e2e.conftest import DS, small_config

KEY = "TEST_PSEUDONYM_KEY"
# As the demo shop and, in capitals, the lake write its users; no pseudonym, a hexadecimal number, has a `u`.
RAW_ID = re.compile(rb"u[0-9]{7}", re.IGNORECASE)
# As many shops make them.
MADE_OF_USERS = (
    "sources.events.0.select.session_id=CONCAT(user_id, '/', session_id)",
    "sources.events.0.select.event_id=CONCAT(user_id, '/', event_id)",
)


def files_with_raw_ids(folder: Path) -> list[str]:
    """Files below the folder that show a raw id, in their bytes or, of Parquet files, in their rows and bounds."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".parquet":
            # In compressed bytes a length may look like the letter before some digits of a pseudonym.
            file = pq.ParquetFile(path)
            held = repr((file.read().to_pylist(), file.metadata.to_dict())).encode()
        else:
            held = path.read_bytes()
        if RAW_ID.search(held):
            found.append(str(path.relative_to(folder)))
    return found


def test_no_table_of_the_lake_holds_a_raw_user_id(
    spark, demo_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(demo_shop, tmp_path / "lake", f"prepare.pseudonymize_with={KEY}", *MADE_OF_USERS)
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
    # Nor do sessions, events or anything else: no byte of the lake.
    assert files_with_raw_ids(tmp_path / "lake") == []
    # Testers are told by their real ids, before those are gone.
    assert summary.counts["prepare.events_quarantined_test_account"] > 0
    events = spark.read.parquet(str(demo_shop / "events"))
    real = events.where("event_type = 'rating' AND user_id RLIKE '^u[0-9]{7}$'").first().user_id  # no bot rates
    assert lake.read("interactions").where(F.col("user_id") == known_user(real, config.prepare)).count() > 0


def forget_at_once(spark, root: Path) -> None:
    """Have the files of older versions go with the next vacuum, in all tables that there are."""
    for log in sorted(root.rglob("_delta_log")):
        never = "'delta.deletedFileRetentionDuration' = 'interval 0 hours'"
        spark.sql(f"ALTER TABLE delta.`{log.parent}` SET TBLPROPERTIES ({never})")


@pytest.mark.long
def test_ten_nights_on_a_log_exported_anew_with_pseudonyms_from_the_fifth_on(
    spark, demo_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log does not grow, and from the fifth night on no byte of the lake shows a raw id."""
    monkeypatch.setenv(KEY, "a secret of some length")
    root, shop = tmp_path / "lake", tmp_path / "shop"
    lake = Lake.at(spark, str(root))
    log = root / "input_log/events"

    def night(ds: date, folder: Path, *settings: str) -> tuple[Config, dict[str, float]]:
        config = small_config(shop, folder, "maintain.retention_hours=0", *MADE_OF_USERS, *settings)
        summary = RunSummary(config.name, ds.isoformat())
        run_night(spark, config, ds, NightOptions(stage="prepare"), summary)
        return config, {name: n for name, n in summary.counts.items() if name.startswith("prepare.events_")}

    sizes = []
    for number in range(1, 11):
        ds = DS - timedelta(days=10 - number)
        shutil.rmtree(shop, ignore_errors=True)
        shutil.copytree(demo_shop, shop, copy_function=shutil.copy)  # of a new time
        on = (f"prepare.pseudonymize_with={KEY}",) if number >= 5 else ()
        config, counts = night(ds, root, *on)
        if number == 1:
            forget_at_once(spark, root)
        if number == 5:  # a copy is told from its event under a key as it is without
            assert counts == night(ds, tmp_path / "without a key")[1]
            assert counts["prepare.events_quarantined_duplicate"] > 0
        maintain(lake, config, "no encoder", RunSummary(config.name, ds.isoformat()))
        live = [path for path in log.rglob("*.parquet") if "_delta_log" not in path.parts]
        sizes.append(sum(path.stat().st_size for path in live))
        print(f"night {number} {ds}: input_log/events {sizes[-1]:,} bytes in {len(live)} files")
        raw = files_with_raw_ids(root)
        assert bool(raw) == (number < 5), raw
    # Pseudonyms take more room than the ids; from one night to the next nothing is added.
    assert max(sizes[:4]) <= 1.02 * min(sizes[:4])
    assert max(sizes[4:]) <= 1.02 * min(sizes[4:])
    # Nights before pseudonyms are there still.
    for name in ("interactions", "user_histories", "accounts", "reviews", "events_quarantine"):
        assert lake.read(name).select("ds").distinct().count() == 10, name
