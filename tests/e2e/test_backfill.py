"""Backfills of real nights: interrupted and gone on with, they leave what an uninterrupted one does."""

import shutil
from datetime import timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys_batch.pipeline import run_night
from recsys_batch.report.progress import open_console
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import latest_release
from recsys_batch.upkeep.backfill import Span, backfill, look
from tests.e2e.conftest import DS, small_config
from tests.e2e.test_night import content_of

pytestmark = pytest.mark.long

DATES = [DS - timedelta(days=n) for n in (2, 1, 0)]


def config_of(shop: Path, lake: Path):
    return small_config(shop, lake, "lists.queries=0", "lists.similar_items=false")


def fill(spark, config, night=None, **asked) -> RunSummary:
    summary = RunSummary("backfill", "")
    night = night or partial(run_night, spark, config)
    backfill(spark, config, Span(DATES[0], DATES[-1], **asked), night, summary, open_console())
    return summary


def lists_of(spark, lake: Path):
    rows = spark.read.format("delta").load(f"{lake}/user_recommendations")
    return sorted(map(str, rows.drop("run_id").collect()))


def test_an_interrupted_backfill_equals_an_uninterrupted_one_and_late_events_are_redone(
    spark, demo_shop: Path, tmp_path: Path
) -> None:
    shop = Path(shutil.copytree(demo_shop, tmp_path / "shop"))
    config = config_of(shop, tmp_path / "interrupted")
    lake = Lake.at(spark, config.lake.root)
    ran = []

    def night(ds, options, summary):
        """Ctrl-C after one stage of the second date."""
        ran.append((ds, summary))
        if ds == DATES[1] and len(ran) == 2:
            run_night(spark, config, ds, type(options)(stage="prepare"), summary)
            raise KeyboardInterrupt
        run_night(spark, config, ds, options, summary)

    with pytest.raises(KeyboardInterrupt):
        fill(spark, config, night)
    assert [each.state for each in look(lake, config, DATES)] == ["published", "missing", "missing"]
    fill(spark, config, night)
    assert [ds for ds, _ in ran] == [DATES[0], DATES[1], DATES[1], DATES[2]]
    # The second try went on from what the first one had prepared.
    assert ran[2][1].reused == {"prepare": ran[1][1].run_id}
    assert [each.state for each in look(lake, config, DATES)] == ["published"] * 3

    whole = config_of(shop, tmp_path / "whole")
    fill(spark, whole)
    assert lists_of(spark, tmp_path / "whole") == lists_of(spark, tmp_path / "interrupted")
    assert content_of(spark, tmp_path / "whole", "user_recommendations")

    # A phone that was offline sends what its user did on the last two dates.
    day = next((shop / "events" / f"day={DATES[-1]}").glob("*.parquet"))
    # The file alone: read as a table of its folder it has the folder's column `day` too.
    rows = pq.ParquetFile(day).read().slice(0, 2)
    midday = pa.array([f"{ds}T12:00:00" for ds in DATES[1:]]).cast(pa.timestamp("us"))
    place = rows.schema.get_field_index("event_time")
    kind = rows.schema.field("event_time").type
    times = pc.assume_timezone(midday, kind.tz).cast(kind) if getattr(kind, "tz", None) else midday.cast(kind)
    pq.write_table(rows.set_column(place, rows.schema.field("event_time"), times), day.with_name("late.parquet"))
    before = [latest_release(lake, ds).run_id for ds in DATES]
    assert [each.state for each in look(lake, config, DATES)] == ["published", "stale", "stale"]
    assert fill(spark, config).message == (
        "0 of 3 dates run; 2 published before late events came stay as they are (--redo-stale runs them)"
    )
    assert [latest_release(lake, ds).run_id for ds in DATES] == before
    assert fill(spark, config, redo_stale=True).state == "done"
    after = [latest_release(lake, ds).run_id for ds in DATES]
    assert (after[0] == before[0], after[1] == before[1], after[2] == before[2]) == (True, False, False)
    assert [each.state for each in look(lake, config, DATES)] == ["published"] * 3
