"""A dry run shows what a config makes of a source, before a night is spent on it."""

from datetime import date

from recsys_batch.contracts.config.night import Source
from recsys_batch.spark.inputs.preview import preview_source
from recsys_batch.spark.session import local_time, with_settings


def test_values_that_cannot_be_read_and_the_day_of_the_shop_are_seen(spark, tmp_path):
    """22:30 in UTC is the next day in Berlin."""
    times = ("2026-06-29 22:30:00", "2026-06-29 21:30:00", "2026-06-30 22:30:00", "gestern")
    lines = "".join(f"alice@example.org;{time};{n},50\n" for n, time in enumerate(times))
    (tmp_path / "log.csv").write_text("Kunde;Zeit;Menge\n" + lines)
    select = {"user_id": "Kunde", "event_type": "'view'", "event_time": "Zeit", "quantity": "Menge"}
    options = {"header": "true", "sep": ";"}
    source = Source(format="csv", path=str(tmp_path / "log.csv"), options=options, select=select, timezone="UTC")
    with with_settings(spark, local_time("Europe/Berlin")):
        found = preview_source(spark, "events", 0, source, date(2026, 6, 30))
    assert (found.rows, found.on_ds) == (4, 1)
    assert found.before[0] == {"Kunde": "a…(17)", "Zeit": "2026-06-29 22:30:00", "Menge": "0,50"}
    assert found.after[0] == {
        "user_id": "a…(17)",
        "event_type": "view",
        "event_time": "2026-06-30 00:30:00",
        "quantity": "null",
    }
    assert found.null_share == {"user_id": 0, "event_type": 0, "event_time": 0.25, "quantity": 1}
    assert found.unread == {"event_time": 1, "quantity": 4}


def test_old_encodings_are_read(spark, tmp_path):
    (tmp_path / "items.csv").write_bytes("id,title\n1,Müsli für 5 €\n".encode("windows-1252"))
    options = {"header": "true", "encoding": "windows-1252"}
    select = {"item_id": "id", "title": "title"}
    source = Source(format="csv", path=str(tmp_path / "items.csv"), options=options, select=select)
    assert preview_source(spark, "items", 0, source, date(2026, 6, 30)).after[0]["title"] == "Müsli für 5 €"
