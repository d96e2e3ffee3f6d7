"""A user forgotten on a lake of real nights: in no byte of it, brought back by nothing, and all others stand."""

import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.learn.datasets import make_datasets
from recsys_batch.pipeline import run_night
from recsys_batch.report.progress import open_console
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.maintain.forget import delta_tables
from recsys_batch.spark.publish.release import latest_release
from recsys_batch.spark.publish.shown import known_user
from recsys_batch.upkeep.backfill import Span, backfill
from recsys_batch.upkeep.forget_user import forget_users
from recsys_batch.upkeep.maintain import maintain
from tests.e2e.conftest import DS, small_config
from tests.e2e.test_incremental import content
from tests.e2e.test_pseudonyms import MADE_OF_USERS, forget_at_once

pytestmark = pytest.mark.long

KEY, LIST_KEY = "TEST_PSEUDONYM_KEY", "TEST_SUPPRESSION_KEY"
BEFORE = DS - timedelta(days=1)


def files_with(folder: Path, *names: str) -> list[str]:
    """Files that show one of the names, in their bytes or, of Parquet files, in rows and bounds; by brute force."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        held = path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            held += repr((file.read().to_pylist(), file.metadata.to_dict()))
        if any(name in held for name in names):
            found.append(str(path.relative_to(folder)))
    return found


def night(spark, config: Config, ds, **options) -> RunSummary:
    summary = RunSummary(config.name, ds.isoformat())
    run_night(spark, config, ds, NightOptions(**options), summary)
    return summary


def others_in(lake: Lake, user: str) -> dict[str, tuple[int, int]]:
    """Table -> number and hash of the rows of everyone else."""
    tables = [name for name in delta_tables(lake) if "user_id" in lake.read(name).columns]
    return {name: content(lake.read(name).where(~F.col("user_id").eqNullSafe(F.lit(user)))) for name in tables}


@pytest.mark.parametrize("pseudonyms", [False, True])
def test_a_user_is_forgotten_by_every_byte_and_no_later_night_brings_the_user_back(
    spark, demo_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, pseudonyms: bool
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setenv(KEY, "a secret of some length")
    shop, root = Path(shutil.copytree(demo_shop, tmp_path / "shop")), tmp_path / "lake"
    lists = (
        "lists.queries=0",
        "lists.similar_items=false",
        "maintain.retention_hours=0",
        f"forget.key_with={LIST_KEY}",
    )
    settings = (*lists, *MADE_OF_USERS, *([f"prepare.pseudonymize_with={KEY}"] if pseudonyms else []))
    config = small_config(shop, root, *settings)
    lake = Lake.at(spark, config.lake.root)
    night(spark, config, BEFORE, stage="prepare")
    night(spark, config, DS)
    make_datasets(lake, config, DS, [config.datasets.splits[0].name])
    forget_at_once(spark, root)

    # Who rates is no bot, and stands in many tables.
    raters = spark.read.parquet(str(shop / "events")).where("event_type = 'rating' AND user_id RLIKE '^u[0-9]{7}$'")
    real = raters.orderBy("user_id").first().user_id
    stored = known_user(real, config.prepare)
    names = (real, real.upper(), *([stored] if pseudonyms else []))
    assert (stored not in (real, real.upper())) == pseudonyms
    assert files_with(root, *names)
    rest = others_in(lake, stored)

    def forget() -> RunSummary:
        summary = RunSummary("forget", "")
        forget_users(lake, config, [real], summary)
        return summary

    with pytest.raises(ConfigError, match=rf"forget.key_with: the environment variable {LIST_KEY} is not set"):
        forget()
    monkeypatch.setenv(LIST_KEY, "another secret of some length")
    first = forget()
    counts = {name.removeprefix("forget.rows in "): n for name, n in first.counts.items() if ".rows in " in name}
    wanted = {"input_log/events", "interactions", "user_histories", "id_indices", "user_recommendations"}
    assert wanted | {"staged/user_recommendations"} <= counts.keys()
    assert any(name.startswith("datasets/") for name in counts)
    assert counts["user_recommendations"] == counts["staged/user_recommendations"] == 8
    # Files of older versions are left, and nothing newer.
    assert first.counts["forget.users_proven"] == 0
    assert lake.read("forget_certificates").first().state == "pending"
    maintain(lake, config, "no encoder", RunSummary(config.name, ""))
    second = forget()
    assert second.counts["forget.users_proven"] == 1
    assert not any(".rows in " in name for name in second.counts)
    certificate = lake.read("forget_certificates").where("state = 'proven'").first()
    assert (certificate.files_found, certificate.tables) == (0, {})
    assert certificate.files_scanned > 50
    assert certificate.user_hash == lake.read("suppressed_users").first().user_hash
    assert files_with(root, *names) == []
    assert not any(name in record.getMessage() for record in caplog.records for name in names)
    # Everyone else stands as before.
    assert others_in(lake, stored) == rest

    # The same raw files, read once more: by the date again, by a backfill, by a copy that comes under a new name.
    release = latest_release(lake, DS)
    # Delta reads no version that is older than how long files are kept.
    keep = "'delta.deletedFileRetentionDuration' = 'interval 7 days'"
    spark.sql(f"ALTER TABLE delta.`{lake.path('user_recommendations')}` SET TBLPROPERTIES ({keep})")
    assert release.row_counts["user_recommendations"] == lake.read_ds("user_recommendations", DS).count()
    standing = lake.read_ds("user_recommendations", DS, release.tables["user_recommendations"])
    assert standing.where(F.col("user_id") == stored).isEmpty()
    shutil.copytree(shop / "events", shop / "events2")
    again = small_config(shop, root, *settings, f"sources.events.0.path={shop}/events2")
    made = [night(spark, again, DS, stage="prepare").run_id]
    span = Span(BEFORE, DS)

    def prepare(ds, _, summary):
        run_night(spark, config, ds, NightOptions(stage="prepare"), summary)
        made.append(summary.run_id)

    filled = RunSummary("backfill", "")
    backfill(spark, config, span, prepare, filled, open_console())
    assert list(filled.stages) == [str(BEFORE)]
    assert files_with(root, *names) == []
    for run_id in made:
        rows = lake.read("interactions").where(F.col("run_id") == run_id)
        assert rows.count() > 0
        assert rows.where(F.col("user_id") == stored).isEmpty()
    assert lake.read("input_log/events").where("user_id IS NOT NULL").count() > 0

    # Without the key, or with another one, no night begins.
    monkeypatch.setenv(LIST_KEY, "one more secret of some length")
    with pytest.raises(ConfigError, match="suppressed_users was made with another key"):
        night(spark, config, DS, force=True)
