"""Two sides of a list table next to each other, on lists of a few letters: what moved, for whom and why."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from math import log2

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.contracts.list_changes import (
    BOUGHT,
    NEW_ITEMS,
    NOT_ELIGIBLE,
    OTHER_MODEL,
    OTHER_SCORES,
    OWN_HISTORY,
    KeyChange,
    ListChanges,
    MovedItem,
    Pair,
    Placed,
    Shift,
    SideFacts,
    as_values,
)
from recsys_batch.contracts.run_facts import RunFacts
from recsys_batch.spark.evaluation.changes.causes import count_causes, pair_histories
from recsys_batch.spark.evaluation.changes.compare import Comparison, common_tables, compare_sides
from recsys_batch.spark.evaluation.changes.pairs import pair_catalogs
from recsys_batch.spark.evaluation.changes.sides import find_sides
from recsys_batch.spark.lake.prepared import replace_prepared
from recsys_batch.spark.lake.runs import record_stage
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import Release, publish, stage_rows
from recsys_batch.spark.session import make_frame, night_settings, with_settings

USERS = Tables.USER_RECOMMENDATIONS
DAY2 = date(2026, 6, 30)
RUN1, RUN2, CANDIDATE = "20260629-aaaaaaaa-aaaaaa", "20260630-bbbbbbbb-bbbbbb", "20260630-cccccccc-cccccc"
RANKED = (
    "key STRING, rank INT, item STRING, score FLOAT, sources ARRAY<STRING>, "
    "reason STRUCT<kind: STRING, anchor: STRING, text: STRING>"
)
ITEMS = "item_id STRING, item_index INT, title STRING, category STRING, eligible BOOLEAN"
HISTORIES = "user_id STRING, history ARRAY<INT>, history_codes ARRAY<TINYINT>, bought ARRAY<INT>"
LISTS = {
    RUN1: {"u1": "ABC", "u2": "ABC", "u3": "ADE", "u4": "AB", "u6": "ABC", "u7": "ABC", "u8": "AED", "u9": "ABC"},
    RUN2: {"u1": "ABC", "u2": "BAC", "u3": "FDG", "u5": "A", "u6": "BCD", "u7": "ABD", "u8": "ABD", "u9": "ABD"},
    CANDIDATE: {"u1": "AB", "u2": "BAC", "u3": "FDG", "u5": "B"},
}
LETTERS = "ABCDEFG"
CATEGORIES = dict(zip(LETTERS, ("Tea > Green", "Tea > Black", "Tea", "Pots", "Pots > Iron", "Cups", None), strict=True))
# E is sold out on the second day; F could not be recommended on the first, and G was not there.
ELIGIBLE = {RUN1: "ABCDE", RUN2: "ABCDFG"}
CATALOG = {RUN1: "ABCDEF", RUN2: LETTERS}
# u6 bought A in between, u7 looked at B.
HISTORY = {
    RUN1: {"u3": ([3], []), "u6": ([1, 2], []), "u7": ([3, 4, 5], []), "u9": ([3, 4, 5], [])},
    RUN2: {"u3": ([3], []), "u6": ([0, 1, 2], [0]), "u7": ([1, 3, 4, 5], []), "u9": ([3, 4, 5], [])},
}


@pytest.fixture(scope="module", autouse=True)
def as_for_small_tables(spark):
    with with_settings(spark, night_settings(0)):
        yield


def source_of(item: str) -> list[str]:
    return ["content"] if item in "ABC" else ["content", "popularity"]


def ranked(spark, lists: Mapping[str, str]) -> DataFrame:
    rows = [
        {"key": key, "rank": n, "item": item, "score": 1 / n, "sources": source_of(item)}
        | {"reason": {"kind": "popular" if item == "A" else "similar", "anchor": None, "text": "why"}}
        for key, items in lists.items()
        for n, item in enumerate(items, 1)
    ]
    return make_frame(spark, rows, RANKED)


def published(spark, run_id: str, model: str) -> DataFrame:
    rows = ranked(spark, LISTS[run_id]).withColumnsRenamed({"key": "user_id", "item": "item_id"})
    return rows.withColumn("model_version", F.lit(model))


def catalog_of(spark, run_id: str) -> DataFrame:
    rows = [(i, LETTERS.index(i), f"title {i}", CATEGORIES[i], i in ELIGIBLE[run_id]) for i in CATALOG[run_id]]
    return make_frame(spark, rows, ITEMS)


def histories_of(spark, run_id: str) -> DataFrame:
    rows = [(user, seen, [0] * len(seen), bought) for user, (seen, bought) in HISTORY[run_id].items()]
    return make_frame(spark, rows, HISTORIES)


def compare(spark, masks_bought: bool = True) -> Comparison:
    catalog = pair_catalogs(catalog_of(spark, RUN1), catalog_of(spark, RUN2))
    histories = pair_histories(histories_of(spark, RUN1), histories_of(spark, RUN2), masks_bought)
    return Comparison.of(USERS, published(spark, RUN1, "m1"), published(spark, RUN2, "m1"), catalog, histories)


@pytest.fixture(scope="module")
def compared(spark):
    with compare(spark) as comparison:
        yield comparison


@pytest.fixture(scope="module")
def changes(compared: Comparison) -> ListChanges:
    return compared.measure()


def test_lists_on_both_sides_are_told_from_those_on_one(changes: ListChanges) -> None:
    assert (changes.only_before, changes.only_now) == (1, 1)
    # u1 stands, u2 changed places; u3 has D of three left, u6 to u9 two of three each.
    share = (1 + 1 + 1 / 3 + 4 * 2 / 3) / 7
    assert changes.both == KeyChange(7, 1, 1, pytest.approx(share))
    assert (changes.rows, changes.longest, changes.models) == (Pair(23, 22), 3, Pair("m1", "m1"))


def test_every_item_that_left_has_one_cause(changes: ListChanges) -> None:
    assert changes.left == {
        NOT_ELIGIBLE: 2,  # E of u3 and u8
        BOUGHT: 1,  # A of u6
        NEW_ITEMS: 1,  # A of u3, by one of F and G; the other one filled the place of E
        OTHER_MODEL: 0,
        OWN_HISTORY: 1,  # C of u7
        OTHER_SCORES: 1,  # C of u9
    }
    assert changes.entered == 6


def exposure(lists: Mapping[str, str]) -> dict[str, float]:
    seen: dict[str, float] = {}
    for items in lists.values():
        for n, item in enumerate(items, 1):
            seen[item] = seen.get(item, 0.0) + 1 / log2(n + 1)
    return {item: value / sum(seen.values()) for item, value in seen.items()}


def test_items_are_ordered_by_the_exposure_that_they_gained_or_lost(changes: ListChanges) -> None:
    before, now = exposure(LISTS[RUN1]), exposure(LISTS[RUN2])
    gain = {item: now.get(item, 0.0) - before.get(item, 0.0) for item in LETTERS}
    gained = sorted((i for i in gain if gain[i] > 0), key=lambda i: -gain[i])
    lost = sorted((i for i in gain if gain[i] < 0), key=lambda i: gain[i])
    assert [moved.item_id for moved in changes.gained] == gained
    assert [moved.item_id for moved in changes.lost] == lost
    sold_out = next(moved for moved in changes.lost if moved.item_id == "E")
    assert sold_out == MovedItem("E", "title E", Pair(2, 0), Pair(pytest.approx(before["E"]), 0.0))


def test_shares_of_sources_reasons_and_categories_are_of_all_rows(changes: ListChanges) -> None:
    # D, E (3 + 0... of 23 rows) before; D, F, G of 22 now.
    def share(run_id: str, wanted: str) -> float:
        rows = "".join(LISTS[run_id].values())
        return sum(item in wanted for item in rows) / len(rows)

    def shift(group: str, wanted: str) -> Shift:
        return Shift(group, Pair(pytest.approx(share(RUN1, wanted)), pytest.approx(share(RUN2, wanted))))

    assert changes.shifts["source"] == (shift("popularity", "DEFG"), shift("content", LETTERS))
    assert {each.group: each for each in changes.shifts["reason"]} == {
        "popular": shift("popular", "A"),
        "similar": shift("similar", "BCDEFG"),
    }
    wanted = {"Tea": "ABC", "Pots": "DE", "Cups": "F", "none": "G"}
    assert {each.group: each for each in changes.shifts["category"]} == {g: shift(g, w) for g, w in wanted.items()}
    moves = [abs(each.share.now - each.share.before) for each in changes.shifts["category"]]
    assert moves == sorted(moves, reverse=True)


def test_coverage_is_of_what_each_side_may_recommend(changes: ListChanges) -> None:
    assert changes.coverage == Pair(5 / 5, 6 / 6)
    assert changes.top_share == Pair(1.0, 1.0)
    for run_id, value in ((RUN1, changes.gini.before), (RUN2, changes.gini.now)):
        rows = "".join(LISTS[run_id].values())
        # E is in no list of the second day, and F and G in none of the first.
        times = [rows.count(item) for item in ELIGIBLE[run_id]]
        differences = sum(abs(a - b) for a in times for b in times)
        assert value == pytest.approx(differences / (2 * len(times) * sum(times)))


def test_users_are_grouped_by_the_length_of_their_history(changes: ListChanges) -> None:
    assert list(changes.segments) == ["0", "1 to 2", "3 to 5"]
    # u1, u2 and u8 have none; u3 has one item; u6, u7 and u9 three or four.
    assert changes.segments["0"] == KeyChange(3, 1, 1, pytest.approx((1 + 1 + 2 / 3) / 3))
    assert changes.segments["1 to 2"] == KeyChange(1, 0, 0, pytest.approx(1 / 3))
    assert changes.segments["3 to 5"] == KeyChange(3, 0, 0, pytest.approx(2 / 3))


def test_drawn_lists_differ_and_are_the_same_ones_every_time(compared: Comparison) -> None:
    drawn = compared.sample(2, seed=5)
    assert drawn == compared.sample(9, seed=5)[:2]
    assert sorted(compared.sample(9, seed=5)) == ["u2", "u3", "u6", "u7", "u8", "u9"]
    assert compared.sample(9, seed=5) != compared.sample(9, seed=6)


def test_an_items_mark_says_what_became_of_it(compared: Comparison) -> None:
    (moved, gone) = compared.show(["u2", "nobody", "u3"])
    assert moved.key == "u2"
    assert {item.item_id: item.mark for item in moved.items} == {"B": "up 1", "A": "down 1", "C": ""}
    assert {item.item_id: item.mark for item in gone.items} == {
        "F": "new",
        "D": "",
        "G": "new",
        "A": "gone",
        "E": "gone",
    }
    assert Placed("G", "title G", None, 3) in gone.items


def test_where_repeats_are_allowed_a_purchase_takes_nothing_out(spark) -> None:
    with compare(spark, masks_bought=False) as comparison:
        left = count_causes(comparison.pairs, comparison.keys, comparison.catalog, comparison.histories)
    # u6 did something since: A counts to that.
    assert (left[BOUGHT], left[OWN_HISTORY]) == (0, 2)


# --- the sides --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lake(spark, tmp_path_factory) -> Lake:
    """A release of the second day, and a run that staged its lists only, under another model."""
    lake = Lake.at(spark, str(tmp_path_factory.mktemp("changes") / "lake"))
    num_rows = {run_id: sum(map(len, LISTS[run_id].values())) for run_id in (RUN2, CANDIDATE)}
    for run_id, model in ((RUN2, "m1"), (CANDIDATE, "m2")):
        stage_rows(lake, USERS, ranked(spark, LISTS[run_id]), DAY2, run_id, model)
    counts = {USERS: num_rows[RUN2]}
    publish(lake, Release(RUN2, DAY2, RUN2, "publish", counts, (), {}, "h", "1", {}, None, (USERS,)))
    replace_prepared(lake, Tables.ITEMS, catalog_of(spark, RUN2), DAY2, RUN2)
    replace_prepared(lake, Tables.USER_HISTORIES, histories_of(spark, RUN2), DAY2, RUN2)
    made = {"prepare": RUN2, "rank": CANDIDATE}
    record_stage(lake, CANDIDATE, "rank", "identity", {}, RunFacts(made, num_rows={USERS: num_rows[CANDIDATE]}))
    return lake


def test_a_candidate_is_held_against_the_release_of_its_date(lake: Lake) -> None:
    sides = find_sides(lake, DAY2, candidate=CANDIDATE)
    assert [side.facts for side in sides] == [
        SideFacts(DAY2, RUN2, "released", RUN2),
        SideFacts(DAY2, CANDIDATE, "staged", RUN2),
    ]
    assert common_tables(*sides) == [USERS]
    with compare_sides(*sides, USERS) as comparison:
        found = comparison.measure()
    # u1 lost C; u5 has B in place of A; both by the other model, as nobody did anything in between.
    assert found.left == dict.fromkeys(found.left, 0) | {OTHER_MODEL: 2}
    assert (found.entered, found.both.keys, found.both.unchanged, found.only_before) == (1, 4, 2, 4)
    assert found.models == Pair("m1", "m2")
    values = as_values(found)
    assert values["rows"] == {"before": 22, "now": 9}
    assert as_values(replace(found, gini=Pair(float("nan"), 0.1234567)))["gini"] == {"before": None, "now": 0.123457}
    with pytest.raises(ConfigError, match=f"no list table is on both sides: run {RUN2} made user_.*; run {CANDIDATE} "):
        common_tables(sides[0], replace(sides[1], lists={}))


def test_what_cannot_be_compared_is_said(lake: Lake) -> None:
    with pytest.raises(InputNotReadyError, match="nothing published for 2026-06-28"):
        find_sides(lake, DAY2, "2026-06-28")
    for name in ("20260630-dddddddd-dddddd", "yesterday"):
        with pytest.raises(ConfigError, match=f"'{name}' is no date.*known: {RUN2}, {CANDIDATE}$"):
            find_sides(lake, DAY2, name)
    with pytest.raises(ConfigError, match=f"both sides are run {RUN2}"):
        find_sides(lake, DAY2, candidate=RUN2)
    with pytest.raises(ConfigError, match="of 2026-06-30, not of --ds 2026-07-01"):
        find_sides(lake, date(2026, 7, 1), DAY2.isoformat(), CANDIDATE)
    with pytest.raises(ConfigError, match="nothing to compare with"):
        find_sides(lake, DAY2)
