"""`evaluate --hold-out` on the small demo shop: what is held out, what baselines recommend, and what is measured."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.measure.evaluate import Asked
from recsys_batch.measure.hold_out import NIGHT, HoldOut, dates_of, hold_out
from recsys_batch.measure.results import measure_cuts
from recsys_batch.pipeline import run_night
from recsys_batch.spark.lake.tables import Lake
from tests.e2e.conftest import DS, small_config

pytestmark = pytest.mark.long

CUT, DAYS = DS - timedelta(days=4), 4
TYPES = ("purchase", "cart")


@pytest.fixture(scope="module")
def held_out(spark, demo_shop: Path, tmp_path_factory: pytest.TempPathFactory):
    """The lake, the cut, and what the raw log and the prepared run say of it."""
    config = small_config(demo_shop, tmp_path_factory.mktemp("hold_out"))
    cut = hold_out(spark, config, CUT, HoldOut(DAYS, TYPES), run_night)
    lake = Lake.at(spark, f"{config.lake.root}/hold_out")
    acts = lake.read(Tables.INTERACTIONS).where(~F.col("undone") & F.col("event_type").isin(*TYPES))
    items = lake.read(Tables.ITEMS).select("item_index", F.col("item_id").alias("product"))
    known = [tuple(row) for row in acts.join(items, "item_index").select("user_id", "product", "event_time").collect()]
    eligible = {row.item_id for row in lake.read(Tables.ITEMS).where("eligible").collect()}
    return config, cut, known, eligible


def test_nothing_later_is_known_and_only_what_is_new_and_later_counts(spark, held_out, demo_shop):
    config, cut, known, _ = held_out
    assert max(at.date() for _, _, at in known) <= CUT
    before = {(user, item) for user, item, _ in known}
    targets = {tuple(row) for row in cut.targets.select("user_id", "item_id").collect()}
    assert len({user for user, _ in targets}) > 5
    assert not targets & before
    # Each is in the raw log of the days after, under its own id or that of a twin.
    raw = spark.read.parquet(f"{demo_shop}/events").where(F.col("event_type").isin(*TYPES))
    day = F.to_date("event_time")
    later = raw.where((day > F.lit(CUT)) & (day <= F.lit(CUT + timedelta(days=DAYS))))
    items = Lake.at(spark, f"{config.lake.root}/hold_out").read(Tables.ITEMS)
    twins = dict(items.select("item_id", "canonical_item_id").collect())
    rows = later.select(F.upper(F.trim("user_id")), F.upper(F.trim("item_id"))).collect()
    assert targets <= {(user, twins.get(item)) for user, item in rows}


def test_popular_lists_are_what_most_users_had_and_the_user_had_not(held_out):
    _, cut, known, eligible = held_out
    users_of = defaultdict(set)
    for user, item, _ in known:
        users_of[item].add(user)
    best = sorted((item for item in users_of if item in eligible), key=lambda i: (-len(users_of[i]), i))
    lists = defaultdict(list)
    for row in cut.lists.where("run = 'popularity'").orderBy("user_id", "rank").collect():
        lists[row.user_id].append(row.item_id)
    assert len(lists) == cut.users.num_rows
    for user, listed in lists.items():
        assert listed == [item for item in best if user not in users_of[item]][:8]


def test_results_are_means_over_the_users_with_the_night_first(held_out):
    _, cut, _, _ = held_out
    results, bins = measure_cuts([cut], 8)
    assert results[0].run == NIGHT
    assert {r.run for r in results} == {NIGHT, "popularity", "recent popularity", "ItemKNN", "EASE", "Spark ALS"}
    targets = defaultdict(set)
    for row in cut.targets.collect():
        targets[row.user_id].add(row.item_id)
    for result in results:
        hits = Counter()
        for row in cut.lists.where(F.col("run") == result.run).collect():
            hits[row.user_id] += row.item_id in targets[row.user_id]
        expected = sum(hits[user] / min(8, len(items)) for user, items in targets.items()) / len(targets)
        assert result.values["recall_min@8"].mean == pytest.approx(expected)
    assert sum(b.size for b in bins if b.kind == "acts of the user") == len(targets)
    assert sum(b.size for b in bins if b.kind == "days since its first") == sum(map(len, targets.values()))
    # A user of two cuts counts once.
    twice, _ = measure_cuts([cut, replace(cut, ds=DS)], 8)
    assert twice[0].values["ndcg@8"].mean == pytest.approx(results[0].values["ndcg@8"].mean)


def test_days_without_a_log_are_refused_and_a_second_call_runs_no_stage_again(spark, held_out, caplog):
    config, _, _, _ = held_out
    with caplog.at_level("INFO"), pytest.raises(InputNotReadyError, match="no search from 2026-06-27 to 2026-06-27"):
        hold_out(spark, config, CUT, HoldOut(1, ("search",)), run_night)
    assert sum("stands" in record.message for record in caplog.records) == 4


def test_options_that_cannot_be_meant_are_refused():
    assert dates_of(date(2026, 6, 30), 7, 3) == [date(2026, 6, 16), date(2026, 6, 23), date(2026, 6, 30)]
    for wrong in ({"days": 0}, {"event_types": ("buy",)}, {"cuts": 2}):
        with pytest.raises(ConfigError, match="--"):
            Asked(**wrong)
