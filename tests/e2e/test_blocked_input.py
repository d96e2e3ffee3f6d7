"""An input that is incomplete or spoiled overnight: exit 10 or 20, the check is named, yesterday's release stands."""

import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_batch.contracts.errors import EmptyDayError, ExpectationFailedError, IncompleteInputError, RecsysBatchError
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.demo.shop import write_shop
from recsys_batch.demo.spec import ShopSpec
from recsys_batch.pipeline import run_night
from recsys_batch.report.summary import RunSummary
from tests.e2e.conftest import DS, small_config

YESTERDAY = DS - timedelta(days=1)


@pytest.fixture(scope="module")
def shop(spark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six weeks of a small shop: enough of every weekday to tell what is usual."""
    folder = tmp_path_factory.mktemp("six_weeks") / "shop"
    write_shop(spark, ShopSpec(num_users=60, num_items=200, num_days=42, end=DS, seed=5), str(folder))
    return folder


@pytest.fixture(scope="module")
def lake(spark, shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with yesterday's release."""
    folder = tmp_path_factory.mktemp("blocked") / "lake"
    run_on(spark, shop, folder, YESTERDAY)
    return folder


def run_on(spark, shop: Path, lake: Path, ds: date) -> RunSummary:
    config = small_config(shop, lake, "lists.similar_items=false", "lists.queries=0", "prepare.profile=true")
    summary = RunSummary(config.name, ds.isoformat())
    run_night(spark, config, ds, NightOptions(), summary)
    return summary


def read_day(shop: Path, day: date) -> pa.Table:
    # The folder's own column `day` is not in the files.
    return pa.concat_tables(
        pq.read_table(file, partitioning=None) for file in sorted(day_folder(shop, day).glob("*.parquet"))
    )


def write_day(shop: Path, day: date, rows: pa.Table) -> None:
    shutil.rmtree(day_folder(shop, day))
    day_folder(shop, day).mkdir()
    # The same form of timestamps as in the other files.
    pq.write_table(rows, day_folder(shop, day) / "part-0.parquet", use_deprecated_int96_timestamps=True)


def day_folder(shop: Path, day: date) -> Path:
    return shop / "events" / f"day={day}"


def without_users(shop: Path) -> None:
    rows = read_day(shop, DS)
    users = [None if n % 5 < 2 else user for n, user in enumerate(rows["user_id"].to_pylist())]
    write_day(shop, DS, rows.set_column(rows.schema.get_field_index("user_id"), "user_id", pa.array(users)))


def a_fifth(shop: Path) -> None:
    rows = read_day(shop, DS)
    write_day(shop, DS, rows.take(list(range(0, rows.num_rows, 5))))


def yesterday_again(shop: Path) -> None:
    write_day(shop, DS, read_day(shop, YESTERDAY))


CASES = {
    "a column 40% null overnight": (without_users, ExpectationFailedError, 20, "null_share_rise[user_id]"),
    "a day at a fifth of its rows": (a_fifth, IncompleteInputError, 10, "rows_to_weekday_median"),
}


@pytest.mark.long
def test_yesterdays_file_again_is_a_day_that_has_not_arrived(spark, shop: Path, tmp_path: Path) -> None:
    spoiled = Path(shutil.copytree(shop, tmp_path / "shop"))
    yesterday_again(spoiled)
    with pytest.raises(
        EmptyDayError, match=rf"0 usable event\(s\) on {DS}.*the newest event is of {YESTERDAY}"
    ) as caught:
        run_on(spark, spoiled, tmp_path / "lake", DS)
    assert caught.value.exit_code == 10
    assert not (tmp_path / "lake").exists()


# Each check has quick tests of its own, and test_night.py a night that a gate blocks.
@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_a_blocked_input_ends_the_night_and_leaves_the_release(
    spark, shop: Path, lake: Path, tmp_path: Path, case: str
) -> None:
    spoil: Callable[[Path], None]
    error: type[RecsysBatchError]
    spoil, error, code, check = CASES[case]
    spoiled = Path(shutil.copytree(shop, tmp_path / "shop"))
    spoil(spoiled)
    with pytest.raises(error) as caught:
        run_on(spark, spoiled, lake, DS)
    assert caught.value.exit_code == code
    for words in ("events: ", check, "the previous release stands", "threshold"):
        assert words in str(caught.value)
    releases = spark.read.format("delta").load(f"{lake}/releases").collect()
    assert [release.ds for release in releases] == [YESTERDAY]
    listed = spark.read.format("delta").load(f"{lake}/user_recommendations").select("ds").distinct().collect()
    assert [row.ds for row in listed] == [YESTERDAY]
    # What was found is there to look at, and the verdict is on record.
    assert check.split("[")[0] in (lake / "profiles" / f"{DS}.html").read_text(encoding="utf-8")
    metrics = spark.read.format("delta").load(f"{lake}/quality_metrics").where(f"ds = '{DS}' AND verdict = 'block'")
    assert metrics.count() >= 1
