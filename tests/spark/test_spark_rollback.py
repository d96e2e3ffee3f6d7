"""Rollback, each test on its own copy of a lake in which run B replaced run A, and run C stands staged."""

import shutil
import threading

import pytest

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import AnotherPublisherWonError, NoEarlierReleaseError, StagedRowsMissingError
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.evaluation.changes.sides import find_side
from recsys_batch.spark.lake.prepared import replace_prepared
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import (
    _claim,
    latest_release,
    prepared_run,
    publish,
    read_release,
    roll_forward,
    stage_rows,
    standing_runs,
)
from recsys_batch.spark.publish.rollback import roll_back
from recsys_batch.spark.publish.shown import shown_to
from recsys_batch.upkeep.rollback import rollback
from tests.spark.test_spark_publish import (
    DS,
    OTHER,
    RANKED,
    RUNS,
    SIMILAR,
    USERS,
    num_releases,
    release,
    remove_staged,
    shown,
    versions,
)

LISTS = {"A": (USERS, SIMILAR), "B": (USERS,), "C": (USERS,)}


@pytest.fixture(scope="module")
def made(spark, frame, tmp_path_factory):
    root = tmp_path_factory.mktemp("rolled") / "lake"
    lake = Lake.at(spark, str(root))
    for run_id, lists in LISTS.items():
        rows = [
            {"key": "u1", "rank": n, "item": i, "score": 1 / n, "sources": ["content"], "reason": ("k", "X", "text")}
            for n, i in enumerate(RUNS[run_id], 1)
        ]
        for table in lists:
            stage_rows(lake, table, frame(RANKED, rows).coalesce(1), DS, run_id, "m1")
    publish(lake, release("A", lists=LISTS["A"]))
    publish(lake, release("B", replaces="A"))
    return root


@pytest.fixture
def lake(spark, made, tmp_path):
    shutil.copytree(made, tmp_path / "lake")
    return Lake.at(spark, str(tmp_path / "lake"))


def test_the_release_before_stands_again_under_a_row_of_its_own(lake):
    old = lake.read(Tables.RELEASES).where("release_id = 'A'").first()
    done = roll_back(lake, DS)
    row = done.release
    assert (done.state, row.action, row.run_id, row.replaces, row.prepared_run) == (
        "rolled back",
        "rollback",
        "A",
        "B",
        "A",
    )
    assert row.release_id not in {"A", "B"}
    same = ("ds", "row_counts", "gates", "input_versions", "config_hash", "code_version", "model_versions")
    assert [row[name] for name in same] == [old[name] for name in same]
    assert row.tables == versions(lake, USERS, SIMILAR)
    assert latest_release(lake, DS) == row
    assert num_releases(lake) == 3
    # Both tables are those of A, also where B had none; B's rows can still be read by its own row.
    assert (shown(lake), shown(lake, SIMILAR)) == (({"A"}, "PQ"), ({"A"}, "PQ"))
    assert [r.item_id for r in read_release(lake, find_row(lake, "B"), USERS).collect()] == ["R"]


def find_row(lake, release_id):
    return lake.read(Tables.RELEASES).where(f"release_id = '{release_id}'").first()


def test_back_again_and_forward_by_name(lake):
    first = roll_back(lake, DS).release
    # A is the oldest: what the rollback replaced is no step further back.
    with pytest.raises(NoEarlierReleaseError, match=rf"run A is the oldest.*Its releases: A, B, {first.release_id}"):
        roll_back(lake, DS)
    forward = roll_back(lake, DS, "B").release
    assert (forward.run_id, forward.replaces, shown(lake)) == ("B", first.release_id, ({"B"}, "R"))
    assert (shown(lake, SIMILAR), forward.row_counts) == ((set(), ""), {USERS: 1, SIMILAR: 0})
    # A release may be named by a rollback to it; what stands already is left as it is.
    again = roll_back(lake, DS, first.release_id).release
    before = versions(lake, USERS, Tables.RELEASES, Tables.PUBLICATIONS)
    assert roll_back(lake, DS, "A").state == "already stands"
    assert (again.run_id, versions(lake, USERS, Tables.RELEASES, Tables.PUBLICATIONS)) == ("A", before)
    # Published over a rollback, C goes back to what it replaced.
    publish(lake, release("C", replaces=again.release_id))
    assert (shown(lake), roll_back(lake, DS).release.run_id) == (({"C"}, "S"), "A")


def test_what_there_is_to_go_back_to_is_said(spark, lake, tmp_path):
    with pytest.raises(NoEarlierReleaseError, match=r"no release 'D' of this date. Its releases: A, B") as caught:
        roll_back(lake, DS, "D")
    assert caught.value.exit_code == 2
    with pytest.raises(NoEarlierReleaseError, match="nothing is published for 2026-06-29"):
        roll_back(lake, OTHER)
    with pytest.raises(NoEarlierReleaseError, match="nothing is published"):
        roll_back(Lake.at(spark, str(tmp_path / "empty")), DS)
    assert (shown(lake), num_releases(lake)) == (({"B"}, "R"), 2)


@pytest.mark.parametrize("missing", ["slice", "table"])
def test_a_release_whose_slices_are_gone_changes_nothing(lake, missing):
    if missing == "slice":
        remove_staged(lake, "A")
    else:
        shutil.rmtree(lake.path("staged/similar_items").removeprefix("file://"))
    before = versions(lake, USERS, Tables.PUBLICATIONS, Tables.RELEASES)
    with pytest.raises(StagedRowsMissingError, match=r"run A .*maintain.keep_nights") as caught:
        rollback(lake, DS, "", RunSummary("rollback", str(DS)))
    assert caught.value.exit_code == 30
    assert versions(lake, USERS, Tables.PUBLICATIONS, Tables.RELEASES) == before
    assert shown(lake) == ({"B"}, "R")


def test_it_does_not_touch_the_claim_of_another_publisher(lake):
    _claim(lake, release("C", replaces="B"))
    with pytest.raises(AnotherPublisherWonError, match="run C is publishing the date, or was cut short") as caught:
        roll_back(lake, DS)
    assert caught.value.exit_code == 40
    assert shown(lake) == ({"B"}, "R")
    assert roll_forward(lake, DS) == "C"
    assert roll_back(lake, DS).release.run_id == "B"


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("by", ["rollback", "night"])
def test_a_rollback_cut_short_anywhere_is_finished_once(lake, monkeypatch, steps, by):
    """After its claim, after each of two tables, and after the last with the row of `releases` not yet written."""
    with monkeypatch.context() as patched:
        left = iter(range(steps))
        for name in ("replace_ds", "append_once"):
            real = getattr(Lake, name)

            def step(self, table, *args, _real=real, **kwargs):
                if next(left, None) is None:
                    raise Killed
                _real(self, table, *args, **kwargs)

            patched.setattr(Lake, name, step)
        if steps < 3:
            with pytest.raises(Killed):
                roll_back(lake, DS)
        else:
            roll_back(lake, DS)
    if steps < 3:
        # Whoever reads by the releases still has B whole.
        standing = latest_release(lake, DS)
        assert standing.release_id == "B"
        assert [r.item_id for r in lake.read_ds(USERS, DS, standing.tables[USERS]).collect()] == ["R"]
        if by == "night":
            assert roll_forward(lake, DS) == "A"
        else:
            assert roll_back(lake, DS).state == "finished"
    assert roll_forward(lake, DS) is None
    row = latest_release(lake, DS)
    assert (row.action, row.run_id, row.replaces, num_releases(lake)) == ("rollback", "A", "B", 3)
    assert (shown(lake), shown(lake, SIMILAR)) == (({"A"}, "PQ"), ({"A"}, "PQ"))
    assert row.tables == versions(lake, USERS, SIMILAR)


def test_a_night_that_began_before_a_rollback_loses(lake):
    roll_back(lake, DS)
    with pytest.raises(AnotherPublisherWonError):
        publish(lake, release("C", replaces="B"))
    assert shown(lake) == ({"A"}, "PQ")


def test_a_reader_sees_the_old_or_the_new_whole(lake):
    """One that reads by the releases while the date goes back and forth sees both tables of one run."""
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            row = latest_release(lake, DS)
            tables = {t: lake.read_ds(t, DS, row.tables[t]) for t in (USERS, SIMILAR)}
            seen.append((row.run_id, *("".join(sorted(x[k] for x in t.collect())) for k, t in rows_of(tables))))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for name in ("A", "B", "A"):
            roll_back(lake, DS, name)
    finally:
        stop.set()
        reader.join()
    assert set(seen) <= {("A", "PQ", "PQ"), ("B", "R", "")}
    assert {run for run, *_ in seen} == {"A", "B"}


def rows_of(tables):
    return [("item_id", tables[USERS]), ("similar_item_id", tables[SIMILAR])]


def test_jobs_that_read_a_date_take_what_was_rolled_back_to(lake, frame):
    types = {"item_id": "string", "title": "string", "item_index": "int"}
    for run_id in ("A", "B"):
        items = [{"item_id": i, "title": f"{i} of {run_id}", "item_index": n} for n, i in enumerate("PQR")]
        replace_prepared(lake, Tables.ITEMS, frame(types, items), DS, run_id)
        histories = {"user_id": "string", "history": "array<int>", "history_codes": "array<tinyint>"}
        histories |= {"history_times": "array<timestamp>"}
        replace_prepared(lake, Tables.USER_HISTORIES, frame(histories, []), DS, run_id)
    assert prepared_run(lake, DS) == "B"
    row = roll_back(lake, DS).release
    # The driver that rolled back had its clock a day behind.
    lake.spark.sql(
        f"UPDATE delta.`{lake.path(Tables.RELEASES)}` SET published_at = published_at - INTERVAL 1 DAY "
        f"WHERE release_id = '{row.release_id}'"
    ).collect()
    assert (latest_release(lake, DS).release_id, prepared_run(lake, DS)) == (row.release_id, "A")
    assert standing_runs(lake, DS) == {}
    assert standing_runs(lake, DS.replace(month=7)) == {DS: "A"}
    found = shown_to(lake, DS, USERS, "u1")
    assert [(each.item_id, each.title) for each in found.recommendations] == [("P", "P of A"), ("Q", "Q of A")]
    for name, run_id, rows in ((str(DS), "A", 4), ("A", "A", 4), ("B", "B", 1), (row.release_id, "A", 4)):
        side = find_side(lake, name)
        assert (side.facts.run_id, side.facts.prepared_run, side.num_rows) == (run_id, run_id, rows)
