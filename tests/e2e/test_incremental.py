"""Ten nights that read only new files leave what one full read leaves, late and repeated rows included."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.pipeline import run_night
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.events.rows import normalize_events, settings_key
from recsys_batch.spark.inputs.input_log import read_new, read_whole
from recsys_batch.spark.lake.tables import Lake
from tests.e2e.conftest import DS, small_config

NIGHTS = 10
TABLES = ("interactions", "events_quarantine", "user_histories", "items", "accounts", "reviews")


def content(rows: DataFrame) -> tuple[int, int]:
    """Number of rows, and a sum of their hashes that does not depend on their order."""
    # Maps cannot be hashed; their entries, sorted, can.
    columns = [
        F.array_sort(F.map_entries(name)) if kind.startswith("map") else F.col(name)
        for name, kind in sorted(rows.dtypes)
        if name != "run_id"
    ]
    halves = F.xxhash64(F.lit(1), *columns), F.xxhash64(F.lit(2), *columns)
    row = rows.agg(
        F.count("*").alias("n"), *(F.sum(half % 2**31).alias(f"h{n}") for n, half in enumerate(halves))
    ).first()
    return tuple(row)


@pytest.mark.long
def test_ten_incremental_nights_equal_a_full_rebuild(spark, demo_shop: Path, tmp_path: Path) -> None:
    arriving = tmp_path / "shop"
    arriving.mkdir()
    for name in ("items", "reviews"):
        (arriving / name).symlink_to(demo_shop / name)
    config = small_config(arriving, tmp_path / "incremental")
    normalize = normalize_events(config.prepare, None)
    lake = Lake.at(spark, config.lake.root)
    days = sorted((demo_shop / "events").glob("day=*"))
    nights = [days[: len(days) - NIGHTS + 1], *([day] for day in days[len(days) - NIGHTS + 1 :])]
    assert len(nights) == NIGHTS
    for number, new in enumerate(nights):
        ds = DS - timedelta(days=NIGHTS - 1 - number)
        for day in new:
            shutil.copytree(day, arriving / "events" / day.name)
        if number == 5:  # a file comes twice under another name
            again = next((arriving / "events" / days[3].name).glob("*.parquet"))
            shutil.copy(again, again.with_name("again.parquet"))
        key = settings_key(config.prepare, None)
        read = read_new(lake, "events", config.sources.events, ds, normalize, key)
        whole = read_whole(spark, "events", config.sources.events, ds, normalize)
        assert read.files_read == len(new) + (number == 5)
        columns = [*Inputs.TYPES["events"], "event_key", "fault"]
        assert content(read.rows.select(columns)) == content(whole.rows.select(columns))
    late = read.rows.where("received_at > event_time + INTERVAL 1 DAY AND fault IS NULL").count()
    assert late > 10

    # The stage as a whole, on the lake of ten nights and on one that reads everything at once.
    full = small_config(arriving, tmp_path / "full", "prepare.incremental=false")
    for each in (config, full):
        run_night(spark, each, DS, NightOptions(stage="prepare"), RunSummary(each.name, DS.isoformat()))
    for table in TABLES:
        made, expected = (Lake.at(spark, each.lake.root).read_ds(table, DS) for each in (config, full))
        assert content(made) == content(expected), table
