"""Maintenance on a lake of three published nights, an unfinished run and a publication that was cut short."""

import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.gates import Check
from recsys_batch.contracts.identity import encoder_version
from recsys_batch.contracts.run_facts import RunFacts
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.prepared import replace_prepared
from recsys_batch.spark.lake.runs import record_stage, stages_of
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.maintain.nights import RetainedNights, find_nights
from recsys_batch.spark.publish.release import Release, _claim, latest_release, publish, roll_forward, stage_rows
from recsys_batch.spark.publish.shown import shown_to
from recsys_batch.upkeep.maintain import maintain
from tests.conftest import ROOT
from tests.spark.test_spark_orphans import ONE, night, stored
from tests.spark.test_spark_publish import RANKED

pytestmark = pytest.mark.long

USERS, SIMILAR = Tables.USER_RECOMMENDATIONS, Tables.SIMILAR_ITEMS
D0, D1, D2, D3 = (date(2026, 6, day) for day in (27, 28, 29, 30))
CUT_SHORT, FIRST, STOPPED = "20260627-0c0c0c0c-00000a", "20260628-01010101-00000b", "20260628-05050505-00000c"
SECOND, THIRD, AGAIN = "20260629-02020202-00000d", "20260630-03030303-00000e", "20260630-04040404-00000f"
RUNS = {CUT_SHORT: D0, FIRST: D1, STOPPED: D1, SECOND: D2, THIRD: D3, AGAIN: D3}
TWO = "b2" * 32 + "-document"
# Per date: the catalog's texts and the log's queries.
TEXTS = {D1: ["tea", "old pot"], D2: ["tea", "pot"], D3: ["tea", "new pot"]}
QUERIES = {D1: ["mug", "old"], D2: ["mug"], D3: ["mug"]}


def release(run_id, replaces=None, release_id=None, action="publish"):
    return Release(
        release_id=release_id or run_id,
        ds=RUNS[run_id],
        run_id=run_id,
        action=action,
        row_counts={USERS: 2, SIMILAR: 2},
        gates=(Check(USERS, "lists", 1.0, 1.0, "pass"),),
        input_versions={},
        config_hash="hash",
        code_version="1.0",
        model_versions={"encoder": encoder_version(ONE)},
        replaces=replaces,
        lists=(USERS, SIMILAR),
    )


def prepare(lake, frame, run_id):
    ds = RUNS[run_id]
    items = [{"item_id": f"i{n}", "item_index": n, "title": text, "text": text} for n, text in enumerate(TEXTS[ds])]
    types = {"item_id": "string", "item_index": "int", "title": "string", "text": "string"}
    replace_prepared(lake, Tables.ITEMS, frame(types, items), ds, run_id)
    searches = [{"event_type": "search", "query": query} for query in QUERIES[ds]]
    types = {"event_type": "string", "query": "string"}
    rows = frame(types, [*searches, {"event_type": "view"}])
    replace_prepared(lake, Tables.INTERACTIONS, rows, ds, run_id)
    record_stage(lake, run_id, "prepare", f"prepared {run_id}", {}, RunFacts({"prepare": run_id}))


def work(lake, frame, run_id):
    """What a run leaves up to its audit."""
    ds = RUNS[run_id]
    reason = ("similar", "X", "similar to X")
    rows = [
        {"key": "i0", "rank": n, "item": f"i{n - 1}", "score": 1 / n, "sources": ["content"], "reason": reason}
        for n in (1, 2)
    ]
    for table in (USERS, SIMILAR):
        # Two small files a slice, so that there is something to merge.
        stage_rows(lake, table, frame(RANKED, rows).repartitionByRange(2, "rank"), ds, run_id, encoder_version(ONE))
    index = folder_of(lake, run_id) / "index"
    index.mkdir(parents=True)
    (index / "part-0.parquet").write_bytes(b"x" * 1000)
    record_stage(lake, run_id, "rank", f"identity {run_id}", {}, RunFacts({"rank": run_id}))


@pytest.fixture(scope="module")
def made(spark, frame, tmp_path_factory):
    root = tmp_path_factory.mktemp("maintained") / "lake"
    lake = Lake.at(spark, str(root))
    for run_id in (STOPPED, FIRST, SECOND, THIRD, AGAIN):
        prepare(lake, frame, run_id)
    for ds, texts in TEXTS.items():
        night(lake, frame, *texts, *QUERIES[ds], run_id=str(ds))
    night(lake, frame, "tea", fingerprint=TWO)  # tried once, never released
    for run_id in RUNS:
        work(lake, frame, run_id)
    for run_id in (FIRST, SECOND, THIRD):
        publish(lake, release(run_id))
    publish(lake, release(AGAIN, replaces=THIRD))
    _claim(lake, release(CUT_SHORT))
    (root / "runs" / "notes").mkdir()
    return root


@pytest.fixture
def lake(spark, made, tmp_path):
    shutil.copytree(made, tmp_path / "lake")
    return Lake.at(spark, str(tmp_path / "lake"))


@pytest.fixture(scope="module")
def first(spark, made, tmp_path_factory):
    """A dry run and the first run: the lake after them, their counts, and what there was before."""
    root = Path(shutil.copytree(made, tmp_path_factory.mktemp("first") / "lake"))
    lake = Lake.at(spark, str(root))
    before = files(lake)
    dry = run(lake, dry_run=True)
    return First(root, published(lake), dry, files(lake) == before, run(lake).counts)


@dataclass(frozen=True)
class First:
    root: Path
    published_before: list
    dry: RunSummary
    unchanged_by_dry: bool
    counts: dict


@pytest.fixture
def lake_after(spark, first, tmp_path):
    shutil.copytree(first.root, tmp_path / "lake")
    return Lake.at(spark, str(tmp_path / "lake"))


def run(lake, *overrides, dry_run=False, fingerprint="c3" * 32):
    settings = (f"lake.root={lake.root}", "maintain.keep_nights=2", "maintain.retention_hours=0", *overrides)
    config = load_config(ROOT / "conf/demo.yaml", settings, {"DEMO_SHOP": "nowhere"})
    summary = RunSummary("maintain", "")
    maintain(lake, config, fingerprint, summary, dry_run)
    return summary


def folder_of(lake, run_id=""):
    return Path(lake.root.removeprefix("file://")) / "runs" / run_id


def files(lake):
    root = Path(lake.root.removeprefix("file://"))
    return {path.relative_to(root): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def staged_runs(lake, table=USERS):
    return {row.run_id for row in lake.read(f"staged/{table}").select("run_id").distinct().collect()}


def published(lake):
    rows = [row for table in (USERS, SIMILAR) for row in lake.read(table).orderBy("ds", "rank").collect()]
    return [tuple(row.asDict(recursive=True).items()) for row in rows]


def vectors(lake, frame):
    return stored(lake, frame, "tea", "old pot", "pot", "new pot", "mug", "old")


def test_a_dry_run_says_what_a_run_would_do_and_changes_nothing(first):
    assert first.unchanged_by_dry
    assert first.dry.state == "checked"
    counts = {name: number for name, number in first.dry.counts.items() if number}
    real = first.counts
    # Two files of 1,000 bytes, and what the two runs recorded.
    assert 2000 < counts["runs.megabytes_removed"] * 2**20 < 4000
    assert counts == {
        "runs.folders_removed": 2,
        "runs.megabytes_removed": counts["runs.megabytes_removed"],
        "runs.staged_slices_removed": 4,
        "runs.staged_rows_removed": 8,
        "runs.old_but_needed": 1,
        "runs.prepared_runs_removed": 1,
        "vectors.encoders_in_use": 1,
        "vectors.stored": 7,
        "vectors.unused": 3,
        "vectors.marked": 3,
        "files.small_files_merged": counts["files.small_files_merged"],
    }
    assert {name: real[name] for name in counts if not name.startswith("files")} == {
        name: number for name, number in counts.items() if not name.startswith("files")
    }
    assert real["files.small_files_merged"] >= counts["files.small_files_merged"] > 4


def test_what_old_nights_left_goes_and_all_that_is_needed_stays(spark, made, first, lake_after, frame):
    lake, before = lake_after, first.published_before
    assert stages_of(Lake.at(spark, str(made)), STOPPED)
    kept = {CUT_SHORT, SECOND, THIRD, AGAIN}
    assert staged_runs(lake, USERS) == staged_runs(lake, SIMILAR) == kept
    assert {path.name for path in folder_of(lake).iterdir()} == {*kept, "notes"}
    # Every published row stands, those of the old night too.
    assert published(lake) == before
    assert {row.ds for row in lake.read(USERS).select("ds").distinct().collect()} == {D1, D2, D3}
    # A run without its files is not resumed; one that has them is.
    assert stages_of(lake, STOPPED) == []
    assert stages_of(lake, CUT_SHORT) != []
    # What a release rests on stays prepared, whichever its date.
    for table in (Tables.ITEMS, Tables.INTERACTIONS):
        rows = lake.read(table).select("ds", "run_id").distinct().collect()
        assert {(row.ds, row.run_id) for row in rows} == {(D1, FIRST), (D2, SECOND), (D3, THIRD), (D3, AGAIN)}
    # Vectors are only marked so far.
    assert vectors(lake, frame) == ["mug", "new pot", "old", "old pot", "pot", "tea"]


def test_the_second_run_removes_the_vectors_and_the_third_nothing(lake_after, frame):
    lake = lake_after
    second = run(lake)
    assert (second.counts["vectors.marked"], second.counts["vectors.removed"]) == (0, 3)
    assert vectors(lake, frame) == ["mug", "new pot", "pot", "tea"]
    assert stored(lake, frame, "tea", fingerprint=TWO) == []
    run(lake)  # merges what the second left in small files
    before = files(lake)
    last = run(lake)
    assert files(lake) == before
    steady = ("runs.old_but_needed", "vectors.encoders_in_use", "vectors.stored")
    assert {name: number for name, number in last.counts.items() if number} == dict(zip(steady, (1, 1, 4), strict=True))
    # The next night encodes what is new, and nothing else.
    assert night(lake, frame, "tea", "pot", "new pot", "mug", "old pot", run_id="next") == 1


def test_a_retained_release_can_be_rolled_back_to_and_a_publication_finished(lake_after):
    lake = lake_after
    back = publish(lake, release(THIRD, replaces=AGAIN, release_id="back", action="rollback"))
    assert (back.run_id, latest_release(lake, D3).action) == (THIRD, "rollback")
    assert {row.run_id for row in lake.read_ds(USERS, D3).collect()} == {THIRD}
    assert roll_forward(lake, D0) == CUT_SHORT
    assert lake.read_ds(USERS, D0).count() == 2
    # Once it is finished, nothing needs the run any more.
    done = run(lake)
    assert (done.counts["runs.folders_removed"], done.counts["runs.old_but_needed"]) == (1, 0)
    assert lake.read_ds(USERS, D0).count() == 2


def keep_files(lake, interval):
    for table in (USERS, SIMILAR):
        lake.spark.sql(
            f"ALTER TABLE delta.`{lake.path(table)}` SET TBLPROPERTIES "
            f"('delta.deletedFileRetentionDuration' = '{interval}')"
        )


def test_releases_are_readable_after_compaction_and_vacuum(lake_after):
    lake = lake_after
    keep_files(lake, "interval 0 hours")
    assert run(lake).counts["vacuum.files_deleted"] > 0
    # Delta refuses to read versions older than this, whether their files are there or not.
    keep_files(lake, "interval 30 days")
    # Retained nights: at the version of the release, as the contract says.
    for ds, run_id in ((D2, SECOND), (D3, AGAIN)):
        for table, version in latest_release(lake, ds).tables.items():
            rows = lake.read_ds(table, ds, version).collect()
            assert [row.run_id for row in rows] == [run_id, run_id]
    # Old ones: whose files were merged, so that only the rows as they stand are left.
    with pytest.raises(Exception, match=r"(?i)file.*not.*(exist|found)"):
        lake.read_ds(SIMILAR, D1, latest_release(lake, D1).tables[SIMILAR]).collect()
    assert [row.rank for row in shown_to(lake, D1, SIMILAR, "i0").recommendations] == [1, 2]
    with pytest.raises(ConfigError, match="has no list"):
        shown_to(lake, D1, SIMILAR, "i9")


def test_within_the_retention_nothing_goes(lake, frame):
    before = files(lake)
    made = run(lake, "maintain.retention_hours=168", "maintain.keep_nights=1")
    assert made.counts["runs.folders_removed"] == made.counts["runs.staged_slices_removed"] == 0
    assert made.counts["vectors.removed"] == made.counts["vacuum.files_deleted"] == 0
    # Runs worked on every date lately, so all of them count as retained.
    assert made.counts["vectors.unused"] == 1
    assert set(before) <= set(files(lake))


def test_vectors_of_the_configured_encoder_stay_before_its_first_release(lake, frame):
    made = run(lake, fingerprint="b2" * 32)
    # Two old texts of the encoder in use; "tea" of the other one is none of them.
    assert (made.counts["vectors.encoders_in_use"], made.counts["vectors.marked"]) == (2, 2)
    assert stored(lake, frame, "tea", fingerprint=TWO) == ["tea"]


def test_a_lake_without_nights(spark, tmp_path):
    assert run(Lake.at(spark, str(tmp_path / "empty"))).state == "nothing to do"
    assert not (tmp_path / "empty").exists()


def test_the_newest_dates_and_those_worked_on_lately_are_retained(lake, frame):
    long_ago = datetime.now(UTC) - timedelta(days=1)
    now = datetime.now(UTC) + timedelta(minutes=1)
    assert find_nights(lake, 2, now) == RetainedNights(D2)
    assert find_nights(lake, 14, now) == RetainedNights(D0)
    assert find_nights(lake, 1, long_ago) == RetainedNights(D3, frozenset({D0, D1, D2}))
    nights = RetainedNights(D2, frozenset({D0}))
    assert [nights.hold(ds) for ds in (D0, D1, D2, D3)] == [True, False, True, True]
    for predicate, expected in ((nights.predicate, {D0, D2, D3}), (nights.outside, {D1})):
        dates = frame({"ds": "date"}, [{"ds": ds} for ds in (D0, D1, D2, D3)])
        assert {row.ds for row in dates.where(predicate).collect()} == expected
