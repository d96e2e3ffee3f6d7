import itertools
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.contracts.columns import Inputs
from recsys_batch.demo import tables, truth
from recsys_batch.demo.spec import ShopSpec

SMALL = ShopSpec(num_users=100, num_items=300, num_days=20, seed=3)
MAKERS = [tables.make_events, tables.make_reviews, truth.make_users, truth.make_user_dirt]


def make(maker, spec, *bounds):
    parts = [maker(spec, np.arange(low, high)) for low, high in itertools.pairwise(bounds)]
    return pa.Table.from_batches(parts)


def ordered(table):
    return table.sort_by([(name, "ascending") for name in table.column_names if not pa.types.is_list(table[name].type)])


@pytest.mark.parametrize("maker", MAKERS)
def test_two_halves_make_the_same_rows_as_the_whole(maker):
    whole = make(maker, SMALL, 0, 100)
    assert ordered(make(maker, SMALL, 0, 50, 100)).equals(ordered(whole))
    assert whole.num_rows > 0


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 98), st.integers(1, 98))
def test_where_users_are_split_never_changes_their_events(one, other):
    low, high = sorted((one, other))
    assert ordered(make(tables.make_events, SMALL, 0, low, high, 100)).equals(
        ordered(make(tables.make_events, SMALL, 0, 100))
    )


@pytest.mark.parametrize("maker", [tables.make_items, truth.make_items, truth.make_item_dirt])
def test_items_do_not_depend_on_the_split_either(maker):
    whole = make(maker, SMALL, 0, 300).to_pylist()
    parts = make(maker, SMALL, 0, 120, 300).to_pylist()
    assert sorted(parts, key=str) == sorted(whole, key=str)


def test_another_seed_makes_another_shop():
    times = []
    for spec in (SMALL, replace(SMALL, seed=4)):
        events = make(tables.make_events, spec, 0, 100)
        times.append(set(events.filter(pc.equal(events["event_type"], "search"))["event_time"].to_pylist()))
    assert times[0]
    assert not times[0] & times[1]


def test_tables_have_the_columns_of_the_contract():
    assert tables.ITEMS_SCHEMA.names == list(Inputs.TYPES["items"])
    assert tables.REVIEWS_SCHEMA.names == list(Inputs.TYPES["reviews"])
    # When a row was received is told by the folder of its day.
    columns = [column for column in Inputs.TYPES["events"] if column != "received_at"]
    assert tables.EVENTS_SCHEMA.names == [*columns, "day"]


def test_searches_and_only_searches_have_a_query(event_table):
    searches = pc.equal(event_table["event_type"], "search")
    assert event_table.filter(searches)["query"].null_count == 0
    assert event_table.filter(searches)["item_id"].null_count == pc.sum(searches).as_py()
    others = event_table.filter(pc.invert(searches))
    assert others["query"].null_count == others.num_rows


def test_a_search_shares_its_session_with_the_clicks_that_follow(event_table):
    kinds = {kind: event_table.filter(pc.equal(event_table["event_type"], kind)) for kind in ("search", "impression")}
    found = pc.is_in(kinds["search"]["session_id"], kinds["impression"]["session_id"])
    assert pc.mean(found).as_py() > 0.99


def test_positions_quantities_and_ratings_are_where_they_belong(event_table):
    frame = event_table.to_pandas()
    paged = frame["event_type"].isin(["impression", "click"])
    assert frame["position"].notna().equals(paged)
    assert frame["quantity"].notna().equals(frame["event_type"].isin(["cart", "purchase", "return"]))
    assert frame["rating"].notna().equals(frame["event_type"].eq("rating"))
    assert frame["rating"].dropna().isin([1.0, 2.0, 3.0, 4.0, 5.0]).all()


def test_both_languages_are_searched(event_table):
    queries = event_table["query"].drop_null().to_pylist()
    chinese = sum(bool(re.search(r"[\u4e00-\u9fff]", query)) for query in queries)
    assert 0.25 < chinese / len(queries) < 0.6
    assert sum(query != query.strip().lower() for query in queries) / len(queries) > 0.02


def test_reviews_are_in_the_language_of_the_item_and_agree_with_the_rating(shop_spec):
    reviews = make(tables.make_reviews, shop_spec, 0, shop_spec.num_users).to_pandas()
    items = (
        make(tables.make_items, shop_spec, 0, shop_spec.num_items).to_pandas().drop_duplicates("item_id", keep="last")
    )
    joined = reviews.merge(items[["item_id", "domain"]], on="item_id")
    assert len(joined) == len(reviews) > 100
    assert (joined["text"].str.contains(r"[\u4e00-\u9fff]") == (joined["domain"] == "zh")).all()
    happy = joined["text"].str.contains("Really happy|Exactly what|真的很满意|正是我想要的")
    cross = joined["text"].str.contains("Disappointed|not buy again|让人失望|不会再买")
    assert (joined.loc[happy, "rating"] >= 4).all()
    assert (joined.loc[cross, "rating"] <= 2).all()
    assert happy.sum() > 20
    assert cross.sum() > 2
    assert joined["text"].str.contains("\n").any()
    assert joined["text"].str.contains(",").any()
