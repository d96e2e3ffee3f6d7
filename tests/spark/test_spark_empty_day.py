"""A date without usable events: late (exit 10) where waiting may help, wrong (exit 20) where it cannot."""

from datetime import date

import pytest

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import EmptyDayError, ExpectationFailedError
from recsys_batch.night.prepare_events import refuse_empty_day
from recsys_batch.spark.inputs.sources import read_table
from recsys_batch.spark.session import local_time, with_settings

DS = date(2026, 6, 30)


def config_of(path, time, zone="UTC"):
    select = {"user_id": "'u'", "item_id": "'i'", "event_type": "'view'", "event_time": time}
    events = {"format": "parquet", "path": str(path), "select": select}
    items = {"format": "parquet", "path": "items", "select": {"item_id": "i", "title": "t"}}
    return Config.model_validate(
        {"name": "shop", "sources": {"events": [events], "items": [items]}, "prepare": {"timezone": zone}}
    )


def refuse(spark, config, ds):
    refuse_empty_day(read_table(spark, "events", config.sources.events, ds), config, ds)


@pytest.fixture(scope="module")
def log(spark, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "events"
    # Noon of the 30th and of the 29th, in milliseconds since 1970.
    spark.sql("SELECT EXPLODE(ARRAY(1782820800000, 1782734400000)) AS ms").coalesce(1).write.parquet(str(path))
    return path


def test_a_day_with_events_passes_and_one_without_is_late(spark, log):
    config = config_of(log, "TIMESTAMP_MILLIS(ms)")
    refuse(spark, config, DS)
    words = r"0 usable event\(s\) on 2026-06-28.*the newest event is of 2026-06-30 12:00"
    with pytest.raises(EmptyDayError, match=words) as caught:
        refuse(spark, config, date(2026, 6, 28))
    assert caught.value.exit_code == 10
    zone = "Asia/Kolkata"
    with with_settings(spark, local_time(zone)), pytest.raises(EmptyDayError, match=r"17:30 \(Asia/Kolkata\)$"):
        refuse(spark, config_of(log, "TIMESTAMP_MILLIS(ms)", zone), date(2026, 6, 28))


@pytest.mark.parametrize(
    ("time", "said"),
    [("ms", "outside the years"), ("CAST(ms AS STRING)", "cannot be read"), ("'10:15'", "cannot be read")],
)
def test_times_that_cannot_be_meant_are_wrong_and_not_late(spark, log, time, said):
    """Milliseconds taken for seconds lie in the year 58,000; a scheduler would retry that for ever."""
    words = rf"event_time: all 2 rows of .*{said}.*TIMESTAMP_MILLIS"
    with pytest.raises(ExpectationFailedError, match=words) as caught:
        refuse(spark, config_of(log, time), DS)
    assert caught.value.exit_code == 20
