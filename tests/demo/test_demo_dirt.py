import unicodedata

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recsys_batch.demo import truth
from recsys_batch.demo.dirt import (
    BOT_VIEWS,
    DUPLICATE_CLICK_RATE,
    EVENT_RATES,
    add_html,
    near_duplicate_title,
    spoil_id,
)


@pytest.fixture(scope="module")
def dirt(shop_spec):
    return truth.make_user_dirt(shop_spec, np.arange(shop_spec.num_users)).to_pandas()


@pytest.fixture(scope="module")
def events(event_table):
    frame = event_table.to_pandas()
    frame["day"] = pd.to_datetime(frame["day"], utc=True)
    return frame


def rows_of(events, dirt, kind):
    return events[events["event_id"].isin(dirt.loc[dirt["kind"] == kind, "key"])]


def test_faults_come_at_their_rates(events, dirt):
    found = dirt["kind"].value_counts()
    for kind, rate in EVENT_RATES.items():
        share = found[kind] / len(events)
        assert 0.6 * rate < share < 1.25 * rate, kind
    clicks = (events["event_type"] == "click").sum()
    assert found["duplicate_click"] / clicks == pytest.approx(DUPLICATE_CLICK_RATE, rel=0.3)


def test_event_ids_repeat_only_where_planted(events, dirt):
    counts = events["event_id"].value_counts()
    assert set(counts[counts > 1].index) == set(dirt.loc[dirt["kind"] == "exact_duplicate", "key"])
    assert counts.max() == 2
    assert len(events.drop_duplicates()) == events["event_id"].nunique()


def test_nulls_are_where_the_truth_says(events, dirt):
    nobody = events[events["user_id"].isna()]
    assert set(nobody["event_id"]) == set(dirt.loc[dirt["kind"] == "null_user_id", "key"])
    nothing = events[events["item_id"].isna() & (events["event_type"] != "search")]
    assert set(nothing["event_id"]) == set(dirt.loc[dirt["kind"] == "null_item_id", "key"])


@pytest.mark.parametrize("column", ["item_id", "user_id"])
def test_spoiled_ids_are_where_the_truth_says_and_nowhere_else(events, dirt, column):
    known = events[events[column].notna()]
    clean = known[column].str.fullmatch(r"sku-[0-9]{5,}|u[0-9]{7}|test_[0-9]{7}")
    planted = dirt.loc[dirt["kind"].isin([f"{column}_{way}" for way in ("case", "padding", "full_width")]), "key"]
    assert set(known.loc[~clean, "event_id"]) == set(planted)


@pytest.mark.parametrize("kind", ["item_id_case", "item_id_padding", "item_id_full_width"])
def test_a_spoiled_id_is_undone_by_nfkc_trim_and_lower_case(kind):
    spoiled = spoil_id("sku-00012", kind)
    assert spoiled != "sku-00012"
    assert unicodedata.normalize("NFKC", spoiled).strip().lower() == "sku-00012"


def test_unknown_items_are_beyond_the_catalog(shop_spec, events, dirt):
    unknown = rows_of(events, dirt, "unknown_item")
    assert (unknown["item_id"].str.slice(4).astype(int) > shop_spec.num_items).all()


def test_times_are_wrong_only_where_planted(events, dirt):
    lag = (events["day"] - events["event_time"].dt.floor("D")).dt.days
    late = set(dirt.loc[dirt["kind"] == "late_event", "key"])
    future = set(dirt.loc[dirt["kind"] == "future_timestamp", "key"])
    broken = set(dirt.loc[dirt["kind"] == "clock_error", "key"])
    assert set(events.loc[lag != 0, "event_id"]) == late | future | broken
    assert lag[events["event_id"].isin(late)].between(1, 3).all()
    assert lag[events["event_id"].isin(future)].between(-30, -1).all()
    assert set(events.loc[events["event_id"].isin(broken), "event_time"].dt.year) == {1970, 2099}


def test_everything_lands_within_the_calendar(shop_spec, events):
    assert events["day"].min() >= pd.Timestamp(shop_spec.start, tz="UTC")
    assert events["day"].max() <= pd.Timestamp(shop_spec.end, tz="UTC")


def test_second_clicks_repeat_a_click_seconds_later(events, dirt):
    second = rows_of(events, dirt, "duplicate_click")
    clicks = events[(events["event_type"] == "click") & ~events["event_id"].isin(second["event_id"])]
    pairs = second.merge(clicks, on=["user_id", "item_id", "session_id", "position"], suffixes=("", "_first"))
    gap = (pairs["event_time"] - pairs["event_time_first"]).dt.total_seconds()
    assert len(pairs) == len(second)
    assert gap.between(1, 4).all()


def test_bots_view_the_catalog_at_a_steady_pace(events, dirt):
    bot = dirt.loc[dirt["kind"] == "bot", "key"].iloc[0]
    views = events[events["user_id"] == bot].sort_values("event_time")
    assert set(views["event_type"]) == {"view"}
    assert len(views) > 0.9 * BOT_VIEWS
    gaps = views["event_time"].diff().dt.total_seconds()
    assert (gaps == 7).mean() > 0.9
    assert views["item_id"].nunique() > 800


def test_resellers_buy_by_the_dozen_and_test_accounts_say_so(events, dirt):
    reseller = dirt.loc[dirt["kind"] == "reseller", "key"].iloc[0]
    bought = events[(events["user_id"] == reseller) & (events["event_type"] == "purchase")]
    assert len(bought) > 100
    assert bought["quantity"].min() >= 12
    assert dirt.loc[dirt["kind"] == "test_account", "key"].str.startswith("test_").all()


def test_html_keeps_the_words():
    for point in (0.1, 0.5, 0.9):
        html = add_html("A mug & a pot. It's blue.", point)
        assert "<" in html
        assert "&amp;" in html
    assert add_html("One. Two.", 0.9) == "<ul><li>One.</li><li>Two.</li></ul>"
    assert add_html("一只。两只。", 0.9) == "<ul><li>一只。</li><li>两只。</li></ul>"


@pytest.mark.parametrize("title", ["Pingo USB-C Car Charger, White, 20 W", "棉云有机棉抱枕套 灰粉色 格纹"])
@pytest.mark.parametrize("point", [0.1, 0.5, 0.9])
def test_a_near_duplicate_title_differs(title, point):
    assert near_duplicate_title(title, point) != title


def test_truth_names_every_kind(dirt, shop_spec):
    items = truth.make_item_dirt(shop_spec, np.arange(shop_spec.num_items))
    kinds = set(dirt["kind"]) | set(pa.Table.from_batches([items])["kind"].to_pylist())
    assert kinds == set(truth.DIRT_KINDS)
