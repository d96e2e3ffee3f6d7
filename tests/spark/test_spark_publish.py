"""Publishing, each test on its own copy of a lake in which run A is published and runs B, C and D stand staged."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from urllib.parse import urlparse

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import AnotherPublisherWonError, StagedRowsMissingError
from recsys_batch.contracts.gates import Check
from recsys_batch.spark.evaluation.arms import published_arms
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish import release as publishing
from recsys_batch.spark.publish.release import (
    Release,
    _claim,
    give_up_claim,
    latest_release,
    publish,
    read_release,
    record_checks,
    roll_forward,
    stage_rows,
    staged_name,
)

USERS, SIMILAR = Tables.USER_RECOMMENDATIONS, Tables.SIMILAR_ITEMS
DS, OTHER = date(2026, 6, 30), date(2026, 6, 29)
RANKED = {
    "key": "string",
    "rank": "int",
    "item": "string",
    "score": "float",
    "sources": "array<string>",
    "reason": "struct<kind: string, anchor: string, text: string>",
}
GATES = (Check(USERS, "lists", 2.0, 1.0, "pass"), Check(USERS, "key_coverage", 0.5, 1.0, "warn"))
# Run -> the items of u1's list.
RUNS = {"A": "PQ", "B": "R", "C": "S", "D": "TUV"}


def release(run_id, replaces=None, ds=DS, lists=(USERS,)):
    return Release(
        release_id=run_id,
        ds=ds,
        run_id=run_id,
        action="publish",
        row_counts={table: len(RUNS[run_id]) for table in lists},
        gates=GATES,
        input_versions={"events": "e1"},
        config_hash="hash",
        code_version="1.0",
        model_versions={"encoder": "m1"},
        replaces=replaces,
        lists=lists,
    )


@pytest.fixture(scope="module")
def made(spark, frame, tmp_path_factory):
    root = tmp_path_factory.mktemp("published") / "lake"
    lake = Lake.at(spark, str(root))
    for run_id, items in RUNS.items():
        rows = [
            {
                "key": "u1",
                "rank": n,
                "item": i,
                "score": 1 / n,
                "sources": ["content"],
                "reason": ("similar", "X", "similar to X"),
            }
            for n, i in enumerate(items, 1)
        ]
        ranked = frame(RANKED, rows).coalesce(1)
        stage_rows(lake, USERS, ranked, OTHER if run_id == "D" else DS, run_id, "m1")
        if run_id == "A":
            stage_rows(lake, SIMILAR, ranked, DS, run_id, "m1")
    row = publish(lake, release("A", lists=(USERS, SIMILAR)))
    return root, row


@pytest.fixture
def lake(spark, made, tmp_path):
    shutil.copytree(made[0], tmp_path / "lake")
    return Lake.at(spark, str(tmp_path / "lake"))


def versions(lake, *tables):
    """The newest Delta version of each table, read from its log."""
    root = Path(lake.root.removeprefix("file://"))
    return {t: max(int(f.stem) for f in (root / t / "_delta_log").glob("*.json")) for t in tables}


def shown(lake, table=USERS, ds=DS, version=None):
    """(run, items by rank) of the published rows."""
    rows = lake.read(table, version).where(f"ds = DATE'{ds}'").orderBy("rank").collect()
    return {row.run_id for row in rows}, "".join(
        row.similar_item_id if table == SIMILAR else row.item_id for row in rows
    )


def num_releases(lake):
    return lake.read(Tables.RELEASES).count()


def test_a_release_names_its_rows_and_their_versions(lake, made):
    found = latest_release(lake, DS)
    assert found == made[1]
    assert (found.release_id, found.ds, found.run_id, found.action, found.replaces) == ("A", DS, "A", "publish", None)
    assert found.row_counts == {USERS: 2, SIMILAR: 2}
    assert [tuple(gate) for gate in found.gates] == [
        (USERS, "lists", 2.0, 1.0, "pass"),
        (USERS, "key_coverage", 0.5, 1.0, "warn"),
    ]
    assert (found.input_versions, found.config_hash, found.code_version) == ({"events": "e1"}, "hash", "1.0")
    assert found.model_versions == {"encoder": "m1"}
    assert found.tables == versions(lake, USERS, SIMILAR)
    for table in (USERS, SIMILAR):
        assert shown(lake, table, version=found.tables[table]) == ({"A"}, "PQ")
    row = lake.read(USERS).where("rank = 2").first()
    assert row.asDict(recursive=True) == {
        "ds": DS,
        "user_id": "u1",
        "rank": 2,
        "item_id": "Q",
        "score": 0.5,
        "sources": ["content"],
        "reason": {"kind": "similar", "anchor": "X", "text": "similar to X"},
        "model_version": "m1",
        "run_id": "A",
        "arm": None,
    }
    assert latest_release(lake, OTHER) is None


def test_a_data_catalog_shows_what_a_list_table_holds_and_no_column_but_the_arm_may_be_null(spark, lake, made):
    for table in (USERS, SIMILAR):
        log = sorted(Path(urlparse(lake.path(table)).path, "_delta_log").glob("*.json"))[0].read_text()
        (metadata,) = [entry["metaData"] for line in log.splitlines() if "metaData" in (entry := json.loads(line))]
        fields = json.loads(metadata["schemaString"])["fields"]
        assert metadata["description"].startswith("Ranked lists")
        assert all(field["metadata"]["comment"] for field in fields)
        assert [field["name"] for field in fields if field["nullable"]] == (["arm"] if table == USERS else [])
        assert [field["name"] for field in fields] == lake.read(table).columns
    # No experiment ran.
    assert lake.read(USERS).where("arm IS NOT NULL").isEmpty()
    assert published_arms(lake, DS) is None
    rows = lake.read(USERS).withColumn("item_id", F.lit(None).cast("string"))
    with pytest.raises(Exception, match="DELTA_NOT_NULL_CONSTRAINT_VIOLATED"):
        lake.replace_ds(USERS, rows, DS)


def test_publishing_a_release_again_changes_nothing(lake, made):
    before = versions(lake, USERS, SIMILAR, Tables.RELEASES)
    again = publish(lake, release("A", lists=(USERS, SIMILAR)))
    assert again == made[1]
    assert versions(lake, USERS, SIMILAR, Tables.RELEASES) == before
    assert num_releases(lake) == 1
    assert shown(lake) == ({"A"}, "PQ")
    assert roll_forward(lake, DS) is None


def test_a_publication_cut_short_after_its_claim_is_rolled_forward_once(lake):
    _claim(lake, release("B", replaces="A"))
    # Readers still have the release before.
    assert latest_release(lake, DS).release_id == "A"
    assert shown(lake) == ({"A"}, "PQ")
    assert roll_forward(lake, OTHER) is None
    assert roll_forward(lake, DS) == "B"
    found = latest_release(lake, DS)
    assert (found.release_id, found.replaces, found.row_counts) == ("B", "A", {USERS: 1, SIMILAR: 0})
    assert [Check(**gate.asDict()) for gate in found.gates] == list(GATES)
    assert shown(lake, version=found.tables[USERS]) == ({"B"}, "R")
    after = versions(lake, USERS, Tables.RELEASES)
    assert roll_forward(lake, DS) is None
    assert versions(lake, USERS, Tables.RELEASES) == after
    assert num_releases(lake) == 2
    # The run that was cut short goes on by itself: nothing more happens.
    assert publish(lake, release("B", replaces="A")) == found
    assert versions(lake, USERS, Tables.RELEASES) == after


def test_nothing_is_rolled_forward_where_nothing_was_ever_published(spark, tmp_path):
    empty = Lake.at(spark, str(tmp_path / "empty"))
    assert roll_forward(empty, DS) is None
    assert latest_release(empty, DS) is None


def test_a_publisher_that_read_an_older_release_loses_and_the_tables_stand(lake):
    publish(lake, release("B", replaces="A"))
    before = versions(lake, USERS, Tables.RELEASES)
    for read in ("A", None):
        with pytest.raises(AnotherPublisherWonError, match=r"ds 2026-06-30: release B of run B .* run C") as caught:
            publish(lake, release("C", replaces=read))
        assert caught.value.exit_code == 40
    assert versions(lake, USERS, Tables.RELEASES) == before
    assert shown(lake) == ({"B"}, "R")
    assert latest_release(lake, DS).release_id == "B"
    # Having read B, it may replace it; what B published can still be read.
    published = publish(lake, release("C", replaces="B"))
    assert shown(lake) == ({"C"}, "S")
    assert shown(lake, version=before[USERS]) == ({"B"}, "R")
    assert latest_release(lake, DS) == published


def test_two_dates_published_at_once_do_not_disturb_each_other(lake):
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda r: publish(lake, r), [release("B", replaces="A"), release("D", ds=OTHER)]))
    assert [row.release_id for row in rows] == ["B", "D"]
    assert shown(lake, ds=DS) == ({"B"}, "R")
    assert shown(lake, ds=OTHER) == ({"D"}, "TUV")
    for ds, row in zip((DS, OTHER), rows, strict=True):
        assert latest_release(lake, ds) == row
        assert shown(lake, ds=ds, version=row.tables[USERS]) == shown(lake, ds=ds)
    assert num_releases(lake) == 3


def test_of_two_publishers_at_once_one_wins(lake):
    def attempt(wanted):
        try:
            return publish(lake, wanted).release_id
        except AnotherPublisherWonError:
            return None

    with ThreadPoolExecutor(2) as pool:
        won = [w for w in pool.map(attempt, [release("B", replaces="A"), release("C", replaces="A")]) if w]
    assert len(won) == 1
    assert latest_release(lake, DS).release_id == won[0]
    assert shown(lake) == (set(won), RUNS[won[0]])
    assert num_releases(lake) == 2


def test_two_that_resume_one_staged_run_publish_it_once_and_a_later_one_finds_it_replaced(lake):
    """Both processes work under the id of the run that staged the rows."""
    same = release("B", replaces="A")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: publish(lake, same), range(2))
    assert first == second
    assert (shown(lake), num_releases(lake)) == (({"B"}, "R"), 2)
    publish(lake, release("C", replaces="B"))
    # A third one that had looked at the date before all that.
    with pytest.raises(AnotherPublisherWonError, match="release C of run C"):
        publish(lake, same)
    assert (shown(lake), num_releases(lake)) == (({"C"}, "S"), 3)


def test_checks_are_recorded_once_for_each_run_and_stage(lake):
    record_checks(lake, DS, "A", "publish", GATES)
    record_checks(lake, DS, "A", "publish", GATES)
    record_checks(lake, DS, "A", "prepare", [Check("events", "quarantined_share", 0.75, 0.5, "block")])
    record_checks(lake, OTHER, "D", "publish", GATES[:1])
    rows = lake.read(Tables.QUALITY_METRICS).collect()
    assert sorted(tuple(row) for row in rows) == [
        (OTHER, "D", USERS, "lists", 2.0, 1.0, "pass"),
        (DS, "A", "events", "quarantined_share", 0.75, 0.5, "block"),
        (DS, "A", USERS, "key_coverage", 0.5, 1.0, "warn"),
        (DS, "A", USERS, "lists", 2.0, 1.0, "pass"),
    ]


def remove_staged(lake, run_id):
    lake.spark.sql(f"DELETE FROM delta.`{lake.path(staged_name(USERS))}` WHERE run_id = '{run_id}'")


def test_a_release_whose_slice_is_gone_claims_and_wipes_nothing(lake):
    remove_staged(lake, "B")
    before = versions(lake, USERS, Tables.PUBLICATIONS, Tables.RELEASES)
    with pytest.raises(StagedRowsMissingError, match=r"run B has 0 rows, its release counts 1"):
        publish(lake, release("B", replaces="A"))
    assert versions(lake, USERS, Tables.PUBLICATIONS, Tables.RELEASES) == before
    assert shown(lake) == ({"A"}, "PQ")
    # Nor does one that was claimed before.
    _claim(lake, release("B", replaces="A"))
    with pytest.raises(StagedRowsMissingError, match="run B"):
        roll_forward(lake, DS)
    assert shown(lake) == ({"A"}, "PQ")


def test_a_slice_removed_during_its_publication_is_published_all_the_same(lake, monkeypatch):
    real = publishing._claim

    def removed_after(*args):
        real(*args)
        remove_staged(lake, "B")

    monkeypatch.setattr(publishing, "_claim", removed_after)
    publish(lake, release("B", replaces="A"))
    assert shown(lake) == ({"B"}, "R")


def test_a_release_is_read_as_it_stands_or_at_its_version(lake):
    old = latest_release(lake, DS)
    assert "".join(row.item_id for row in read_release(lake, old, USERS).orderBy("rank").collect()) == "PQ"
    new = publish(lake, release("B", replaces="A"))
    for each, items in ((old, "PQ"), (new, "R")):
        assert "".join(row.item_id for row in read_release(lake, each, USERS).orderBy("rank").collect()) == items


def test_a_release_that_makes_a_list_no_more_takes_the_old_one_out(lake):
    old = latest_release(lake, DS)
    new = publish(lake, release("B", replaces="A"))
    assert shown(lake, SIMILAR) == (set(), "")
    assert new.row_counts == {USERS: 1, SIMILAR: 0}
    assert new.tables == versions(lake, USERS, SIMILAR)
    # What the older release published can still be read.
    assert shown(lake, SIMILAR, version=old.tables[SIMILAR]) == ({"A"}, "PQ")
    # Of other dates nothing is touched, and an empty table is not emptied again.
    assert SIMILAR not in publish(lake, release("D", ds=OTHER)).tables
    assert SIMILAR not in publish(lake, release("C", replaces="B")).tables


def test_which_release_stands_is_no_matter_of_clocks(lake):
    publish(lake, release("B", replaces="A"))
    # The driver that published A was a day ahead.
    path = lake.path(Tables.RELEASES)
    lake.spark.sql(
        f"UPDATE delta.`{path}` SET published_at = published_at + INTERVAL 1 DAY WHERE release_id = 'A'"
    ).collect()
    assert latest_release(lake, DS).release_id == "B"
    publish(lake, release("C", replaces="B"))
    assert latest_release(lake, DS).release_id == "C"


def test_a_claim_whose_rows_are_gone_can_be_given_up(lake):
    _claim(lake, release("B", replaces="A"))
    remove_staged(lake, "B")
    give_up_claim(lake, DS)
    assert roll_forward(lake, DS) is None
    assert latest_release(lake, DS).release_id == "A"
    assert shown(lake) == ({"A"}, "PQ")
    publish(lake, release("C", replaces="A"))
    assert shown(lake) == ({"C"}, "S")
    # Nothing stands open now: nothing is given up.
    give_up_claim(lake, DS)
    assert latest_release(lake, DS).release_id == "C"


def test_a_first_claim_that_is_given_up_leaves_the_date_as_it_was(lake):
    _claim(lake, release("D", ds=OTHER))
    give_up_claim(lake, OTHER)
    assert latest_release(lake, OTHER) is None
    assert publish(lake, release("D", ds=OTHER)).release_id == "D"
