"""Nights on the small demo shop."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.pipeline import run_night
from recsys_batch.report.summary import RunSummary

DS = date(2026, 6, 30)
ROOT = Path(__file__).parent.parent.parent
Night = Callable[..., RunSummary]


def small_config(shop: Path, lake: Path, *overrides: str) -> Config:
    """The demo's config on the small shop, with short lists."""
    settings = (
        f"lake.root={lake}",
        "rerank.top_n=8",
        "lists.queries=12",
        "prepare.profile=false",
        "encoder.dtype=float32",
        f"sources.exclusions=[{{format: csv, path: {shop}/exclusions.csv, options: {{header: 'true'}}, "
        "select: {user_id: user_id, item_id: item_id}}]",
        *overrides,
    )
    return load_config(ROOT / "conf/demo.yaml", settings, {"DEMO_SHOP": str(shop)})


@pytest.fixture
def night(spark, demo_shop: Path, tmp_path: Path) -> Night:
    """Run a night in this test's own lake (`night.lake`)."""

    def run(*overrides: str, lake: Path = tmp_path / "lake", ds: date = DS, **options: object) -> RunSummary:
        config = small_config(demo_shop, lake, *overrides)
        summary = RunSummary(config.name, ds.isoformat())
        run_night(spark, config, ds, NightOptions(**options), summary)
        return summary

    return run


@pytest.fixture(scope="session")
def published(spark, demo_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunSummary]:
    """One published night that tests may read but not change."""
    lake = tmp_path_factory.mktemp("published")
    config = small_config(demo_shop, lake)
    summary = RunSummary(config.name, DS.isoformat())
    run_night(spark, config, DS, NightOptions(), summary)
    return lake, summary
