"""Published tables are named in the catalog where one is configured."""

import logging
from pathlib import Path

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.night.publish import register
from recsys_batch.spark.lake.tables import Lake


def test_tables_are_named_in_the_catalog_once(spark, tmp_path: Path) -> None:
    lake = Lake.at(spark, str(tmp_path / "a shop's lake"))
    lake.ensure("lists", "ds DATE, n INT", ("ds",))
    try:
        lake.register(["lists"], "shop_catalog")
        lake.register(["lists"], "shop_catalog")
        spark.sql("INSERT INTO shop_catalog.lists VALUES (DATE'2026-06-30', 7)")
        assert [tuple(row) for row in lake.read("lists").select("n").collect()] == [(7,)]
    finally:
        spark.sql("DROP SCHEMA IF EXISTS shop_catalog CASCADE")


def test_a_registration_that_failed_ends_no_night_and_the_next_run_makes_it_good(
    spark, tmp_path, caplog, monkeypatch
) -> None:
    source = {"format": "csv", "path": "none"}
    events = source | {"select": {"user_id": "u", "event_type": "t", "event_time": "e"}}
    sources = {"events": [events], "items": [source | {"select": {"item_id": "i", "title": "t"}}]}
    config = Config.model_validate({"name": "shop", "sources": sources, "lake": {"catalog_schema": "shop_later"}})
    lake = Lake.at(spark, str(tmp_path / "lake"))
    tables = (Tables.USER_RECOMMENDATIONS, Tables.RELEASES, Tables.QUALITY_METRICS)
    try:
        for table in tables:
            lake.ensure(table, "ds DATE, n INT", ("ds",))

        def away(*_: object) -> None:
            raise ConnectionError("the catalog is away")

        with caplog.at_level(logging.ERROR), monkeypatch.context() as patched:
            patched.setattr(Lake, "register", away)
            register(lake, config, tables[:1])
        assert "the registration in shop_later could not be written; the night goes on" in caplog.text
        register(lake, config, tables[:1])
        assert {row.tableName for row in spark.sql("SHOW TABLES IN shop_later").collect()} == set(tables)
    finally:
        spark.sql("DROP SCHEMA IF EXISTS shop_later CASCADE")
