"""Published tables are named in the catalog where one is configured."""

from pathlib import Path

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
