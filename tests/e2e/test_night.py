"""The whole night on the small demo shop: what is published, and what doing it again changes."""

import hashlib
import shutil
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import AlreadyPublishedError, ConfigError, EmptyDayError, GateFailedError
from recsys_batch.contracts.list_changes import CAUSES, OTHER_SCORES
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.evaluation.changes.compare import compare_sides
from recsys_batch.spark.evaluation.changes.sides import find_sides
from recsys_batch.spark.lake.tables import Lake
from tests.e2e.conftest import DS

TABLES = {"user_recommendations": "user_id", "query_recommendations": "query", "similar_items": "item_id"}


def read(spark, lake: Path, table: str):
    return spark.read.format("delta").load(f"{lake}/{table}")


def content_of(spark, lake: Path, table: str) -> list[tuple]:
    """Every row but its run, in a fixed order."""
    item = "similar_item_id" if table == "similar_items" else "item_id"
    rows = read(spark, lake, table).select(TABLES[table], "rank", item, F.round("score", 4), "sources", "reason.text")
    return sorted(tuple(map(str, row)) for row in rows.collect())


def items_of(spark, lake: Path) -> dict[str, list[str]]:
    """The similar items of every item, in their order."""
    rows = sorted(read(spark, lake, "similar_items").collect(), key=lambda row: row.rank)
    return {key: [row.similar_item_id for row in rows if row.item_id == key] for key in {row.item_id for row in rows}}


@pytest.fixture
def lake_copy(published: tuple[Path, RunSummary], tmp_path: Path) -> Path:
    """The published lake, to be changed."""
    return Path(shutil.copytree(published[0], tmp_path / "copy"))


def test_every_event_row_is_accounted_for(spark, demo_shop: Path, published: tuple[Path, RunSummary]) -> None:
    _, summary = published
    read_rows = spark.read.parquet(str(demo_shop / "events")).count()
    parts = {k: v for k, v in summary.counts.items() if k.startswith("prepare.events_") and k != "prepare.events_read"}
    parts.pop("prepare.events_on_ds")
    assert summary.counts["prepare.events_read"] == read_rows
    assert sum(parts.values()) == read_rows
    assert summary.counts["prepare.events_quarantined_missing_user_id"] > 0


def test_quarantine_holds_the_refused_rows_by_reason(spark, published: tuple[Path, RunSummary]) -> None:
    lake, summary = published
    by_reason = {
        r.reason: r["count"] for r in read(spark, lake, "events_quarantine").groupBy("reason").count().collect()
    }
    counted = {k.split("quarantined_")[1]: v for k, v in summary.counts.items() if "events_quarantined_" in k}
    assert by_reason == counted


@pytest.mark.parametrize("table", TABLES)
def test_lists_keep_the_invariants_when_recomputed_in_plain_python(
    spark, published: tuple[Path, RunSummary], table: str
) -> None:
    lake, _ = published
    item = "similar_item_id" if table == "similar_items" else "item_id"
    eligible = {r.item_id for r in read(spark, lake, "items").where("eligible").collect()}
    assert 0 < len(eligible) < read(spark, lake, "items").count()
    lists: dict[str, list] = {}
    for row in read(spark, lake, table).where(f"ds = '{DS}'").collect():
        lists.setdefault(row[TABLES[table]], []).append(row)
    assert lists
    for rows in lists.values():
        rows.sort(key=lambda r: r.rank)
        assert [r.rank for r in rows] == list(range(1, 9))
        assert len({r[item] for r in rows}) == 8
        assert {r[item] for r in rows} <= eligible
        assert all(a.score >= b.score for a, b in pairwise(rows))
        assert all(r.reason.text and r.sources for r in rows)


def test_nobody_is_recommended_what_they_bought(spark, published: tuple[Path, RunSummary]) -> None:
    lake, _ = published
    interactions = read(spark, lake, "interactions").where("event_type = 'purchase' AND NOT undone")
    bought = {(r.user_id, r.item_id) for r in interactions.collect()}
    listed = {(r.user_id, r.item_id) for r in read(spark, lake, "user_recommendations").collect()}
    assert len(bought) > 20
    assert not bought & listed


def test_every_known_user_has_a_list(spark, published: tuple[Path, RunSummary]) -> None:
    lake, _ = published
    known = {r.user_id for r in read(spark, lake, "interactions").select("user_id").distinct().collect()}
    listed = {r.user_id for r in read(spark, lake, "user_recommendations").select("user_id").distinct().collect()}
    assert listed == known


def test_lists_follow_the_planted_tastes(spark, demo_shop: Path, published: tuple[Path, RunSummary]) -> None:
    """A user's list must hold far more of the categories they were made to like than the catalog does."""
    lake, _ = published
    truth = spark.read.parquet(str(demo_shop / "truth/users")).where("NOT is_bot AND NOT is_reseller")
    likes = truth.select(F.upper("user_id").alias("user_id"), F.explode("interests").alias("interest"))
    liked = likes.select("user_id", "interest.leaf").distinct()
    items = spark.read.parquet(str(demo_shop / "truth/items")).select(F.upper("item_id").alias("item_id"), "leaf")
    listed = (
        read(spark, lake, "user_recommendations")
        .select("user_id", "item_id")
        .join(items, "item_id")
        .join(likes.select("user_id").distinct(), "user_id")
    )
    hits = listed.join(liked, ["user_id", "leaf"], "left_semi").count() / listed.count()
    pairs = likes.select("user_id").distinct().crossJoin(items)
    chance = pairs.join(liked, ["user_id", "leaf"], "left_semi").count() / pairs.count()
    assert hits > 2 * chance


def test_second_run_is_already_published(spark, lake_copy: Path, night) -> None:
    summary = night(lake=lake_copy)
    assert summary.state == "already published"
    assert read(spark, lake_copy, "releases").count() == 1


def test_a_forced_night_staged_and_resumed_encodes_nothing_and_publishes_the_same_rows(
    spark, lake_copy: Path, night
) -> None:
    before = {table: content_of(spark, lake_copy, table) for table in TABLES}
    staged = night(lake=lake_copy, force=True, publish=False)
    assert staged.state == "staged"
    assert staged.counts["encode.document_encoded"] == 0
    assert staged.counts["encode.document_model_loads"] == 0
    assert read(spark, lake_copy, "releases").count() == 1

    resumed = night(lake=lake_copy, force=True, resume=True)
    assert resumed.run_id == staged.run_id
    assert list(resumed.stages) == ["publish"]
    assert resumed.state == "published"
    assert {table: content_of(spark, lake_copy, table) for table in TABLES} == before
    releases = read(spark, lake_copy, "releases").orderBy("published_at").collect()
    assert [r.replaces for r in releases] == [None, releases[0].release_id]
    rows = read(spark, lake_copy, "similar_items").select("run_id").distinct().collect()
    assert {r.run_id for r in rows} == {resumed.run_id}


def test_only_what_a_change_concerns_is_run_again(spark, lake_copy: Path, night, published) -> None:
    _, first = published
    with pytest.raises(AlreadyPublishedError, match=r"--force .* --resume"):
        night("rerank.category_cap=1", lake=lake_copy)
    changed = night("rerank.category_cap=1", "retrieve.content.weight=0.1", lake=lake_copy, force=True, resume=True)
    assert (list(changed.stages), changed.state) == (["rank", "publish"], "published")
    assert changed.reused == dict.fromkeys(("prepare", "encode", "retrieve"), first.run_id)
    (release,) = read(spark, lake_copy, "releases").where(F.col("run_id") == changed.run_id).collect()
    assert (release.prepared_run, release.replaces) == (first.run_id, first.release_id)
    # Every check of the inputs is the new release's too.
    names = {(gate.table, gate["check"]) for gate in release.gates}
    assert names == {(check.table, check.check) for check in first.checks}
    assert changed.counts.keys() == first.counts.keys()

    # The two releases side by side: the old one is read at its version.
    was, is_now = (items_of(spark, lake) for lake in (published[0], lake_copy))
    with compare_sides(*find_sides(Lake.at(spark, str(lake_copy)), DS, first.run_id), Tables.SIMILAR_ITEMS) as compared:
        found = compared.measure()
    gone = sum(len(set(was[key]) - set(is_now[key])) for key in was)
    assert gone > 0
    assert found.left == dict.fromkeys(CAUSES, 0) | {OTHER_SCORES: gone}
    assert (found.both.keys, found.both.unchanged) == (len(was), sum(was[key] == is_now[key] for key in was))


def test_what_the_shop_excludes_for_a_user_is_not_shown_to_them(
    spark, demo_shop: Path, published: tuple[Path, RunSummary]
) -> None:
    lake, summary = published
    excluded = {line.split(",")[1].upper() for line in (demo_shop / "exclusions.csv").read_text().splitlines()[1:]}
    assert read(spark, lake, "items").where("eligible").where(F.col("item_id").isin(excluded)).count() > 0
    assert read(spark, lake, "similar_items").where(F.col("similar_item_id").isin(excluded)).count() > 0
    assert read(spark, lake, "user_recommendations").where(F.col("item_id").isin(excluded)).count() == 0
    (check,) = (c for c in summary.checks if c.check == "items_already_bought_or_excluded")
    assert (check.table, check.value, check.verdict) == ("user_recommendations", 0, "pass")


def test_rules_change_the_lists_and_their_effects_are_counted(spark, lake_copy: Path, night) -> None:
    catalog = read(spark, lake_copy, "items").where("eligible AND brand IS NOT NULL").select("item_id", "brand")
    brands = dict(catalog.collect())
    boosted = max(brands.values(), key=lambda brand: (list(brands.values()).count(brand), brand))

    def shown(of: str) -> int:
        rows = read(spark, lake_copy, "user_recommendations").collect()
        return sum(brands.get(row.item_id) == of for row in rows)

    before = shown(boosted)
    boosts = f"[{{where: \"brand = '{boosted}'\", by: 1}}, {{where: price < 0, by: 0.5}}]"
    rules = night(
        f"rerank.boosts={boosts}", "rerank.brand_cap=2", "rerank.diversity=0.3", lake=lake_copy, force=True, resume=True
    )
    assert (list(rules.stages), rules.state) == (["rank", "publish"], "published")
    assert shown(boosted) > before
    assert rules.counts["rerank.boosts_0_items"] == list(brands.values()).count(boosted)
    assert rules.counts["rerank.boosts_1_items"] == 0
    assert rules.counts["rerank.user_recommendations_rows_boosted"] == shown(boosted)
    assert rules.counts["rerank.user_recommendations_rows_there_for_diversity"] > 0
    lists: dict[str, list[str]] = {}
    for row in read(spark, lake_copy, "user_recommendations").collect():
        if row.item_id in brands:
            lists.setdefault(row.user_id, []).append(brands[row.item_id])
    over = sum(max(each.count(brand) - 2, 0) for each in lists.values() for brand in set(each))
    assert over <= rules.counts["rerank.user_recommendations_rows_over_category_cap"]


def test_each_arm_gets_the_lists_of_its_settings(spark, lake_copy: Path, night) -> None:
    before = content_of(spark, lake_copy, "user_recommendations")
    assert {row.arm for row in read(spark, lake_copy, "user_recommendations").collect()} == {None}
    arms = "[{name: a, share: 0.4}, {name: b, share: 0.3}, {name: short, share: 0.3, set: {rerank.top_n: 5}}]"
    dealt = night(f"experiment={{name: test, arms: {arms}}}", lake=lake_copy, force=True, resume=True)
    assert (list(dealt.stages), dealt.state) == (["rank", "publish"], "published")
    users = {row.user_id: row.arm for row in read(spark, lake_copy, "user_recommendations").collect()}
    assert set(users.values()) == {"a", "b", "short"}
    assert users == {user: arm_by_hand(user) for user in users}
    for arm in ("a", "b", "short"):
        number = sum(each == arm for each in users.values())
        assert dealt.counts[f"rerank.user_recommendations_lists_of_arm_{arm}"] == number
        assert ("user_recommendations", f"lists[{arm}]", number) in {(c.table, c.check, c.value) for c in dealt.checks}
    # Arms without settings of their own have the lists of no experiment, and shorter lists are the first rows of these.
    kept = [row for row in before if users[row[0]] != "short" or int(row[1]) <= 5]
    assert content_of(spark, lake_copy, "user_recommendations") == kept
    assert len(kept) < len(before)


def arm_by_hand(user: str) -> str:
    draw = int(hashlib.sha256(f"test:{user}".encode()).hexdigest()[:13], 16) / 16**13
    return "a" if draw < 0.4 else "b" if draw < 0.4 + 0.3 else "short"


def test_a_date_without_events_is_refused_before_anything_is_written(tmp_path: Path, night) -> None:
    with pytest.raises(EmptyDayError, match=r"0 usable event\(s\) on 2020-01-01"):
        night(ds=date(2020, 1, 1))
    assert not (tmp_path / "lake").exists()


def test_failed_gate_leaves_the_previous_release(spark, lake_copy: Path, night) -> None:
    before = content_of(spark, lake_copy, "user_recommendations")
    with pytest.raises(GateFailedError, match=r"events: quarantined_share is .* threshold 0\.0001: block"):
        night("gates.max_quarantine_share=0.0001", lake=lake_copy, force=True)
    assert content_of(spark, lake_copy, "user_recommendations") == before
    assert read(spark, lake_copy, "releases").count() == 1
    blocked = read(spark, lake_copy, "quality_metrics").where("verdict = 'block'").collect()
    assert [(r.table, r.check) for r in blocked] == [("events", "quarantined_share")]


def test_stage_without_its_predecessors_is_refused(night) -> None:
    with pytest.raises(ConfigError, match="--stage rank"):
        night(stage="rank")


def test_dry_run_writes_nothing(tmp_path: Path, night) -> None:
    assert night(dry_run=True).state == "checked"
    assert not (tmp_path / "lake").exists()
