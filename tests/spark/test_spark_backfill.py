"""Backfill: which dates are run and why, in which order, and where it stops; real nights are in tests/e2e."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from recsys_batch.contracts.config.load import hash_config, load_config
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.contracts.errors import ConfigError, EmptyDayError
from recsys_batch.contracts.run_facts import RunFacts
from recsys_batch.report.progress import open_console
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.events.rows import count_in_windows, normalize_events, place_in_window
from recsys_batch.spark.inputs.quarantine import FILTERED, OUTSIDE_WINDOW, STATUS
from recsys_batch.spark.lake.runs import record_stage, record_status
from recsys_batch.spark.publish.release import Release, _claim, latest_release, publish, stage_rows
from recsys_batch.upkeep.backfill import Span, backfill, look
from tests.contracts.test_load_config import MINIMAL
from tests.spark.test_spark_publish import RANKED, USERS

D = [date(2026, 6, 1) + timedelta(days=n) for n in range(8)]


def test_rows_of_a_window_are_counted_as_the_night_places_them(spark, raw):
    """Random rows, a third of them with something wrong, at and around the edges of the windows."""
    draws, first = random.Random(5), datetime(2026, 5, 20, tzinfo=UTC)

    def some_time():
        # At midnight sharp one time in four; a year off now and then.
        hours = draws.randrange(24 * 25) if draws.random() < 0.75 else 24 * draws.randrange(25)
        return first + timedelta(hours=hours, days=draws.choice([0] * 20 + [-12000, 400, 900]))

    rows = []
    for _ in range(600):
        time = some_time() if draws.random() < 0.9 else None
        rows.append(
            {
                "user_id": draws.choice(["u1", "nan", None]),
                "item_id": draws.choice(["i1", None]),
                "event_type": draws.choice(["view", " View", "purchase", "stare", None]),
                "event_time": time,
                "received_at": draws.choice([None, time, some_time()]),
                "_kept": draws.random() < 0.9,
            }
        )
    events = raw("events", rows)
    prepare = Prepare(lookback_days=3)
    normalized = normalize_events(prepare, None)(events).persist()
    expected = {}
    for ds in D:
        placed = place_in_window(normalized, ds, prepare)
        expected[ds] = placed.count() - placed.where(placed[STATUS].isin(FILTERED, OUTSIDE_WINDOW)).count()
    normalized.unpersist()
    assert len(set(expected.values())) > 4
    assert count_in_windows(events, D, prepare) == expected


@pytest.fixture
def config(spark, tmp_path, lake):
    """Two events a day from D[0] to D[6], in one file a day."""
    for n, ds in enumerate(D[:7]):
        write_day(spark, tmp_path, ds, [ds] * 2, f"day{n}")
    path = tmp_path / "shop.yaml"
    path.write_text(MINIMAL)
    return load_config(
        path,
        (
            f"lake.root={lake.root}",
            f"sources.events=[{{format: json, path: {tmp_path}/events, schema_ddl: 'user_id STRING, at TIMESTAMP', "
            "select: {user_id: user_id, item_id: \"'i1'\", event_type: \"'view'\", event_time: at}}]",
        ),
        env={},
    )


def write_day(spark, tmp_path, ds, times, name):
    (tmp_path / "events").mkdir(exist_ok=True)
    lines = [f'{{"user_id": "u{n}", "at": "{time}T12:00:00Z"}}\n' for n, time in enumerate(times)]
    (tmp_path / "events" / f"{name}.json").write_text("".join(lines))


def release_of(ds, config_hash, run_id=None):
    run_id = run_id or f"{ds:%Y%m%d}-aaaaaaaa-000000"
    return Release(run_id, ds, run_id, "publish", {USERS: 1}, (), {}, config_hash, "1", {}, None, (USERS,))


def staged(lake, frame, release):
    row = {"key": "u1", "rank": 1, "item": "i1", "score": 1.0, "sources": ["content"], "reason": ("k", "X", "t")}
    stage_rows(lake, USERS, frame(RANKED, [row]).coalesce(1), release.ds, release.run_id, "m1")
    return release


def counted(rows):
    return {"prepare.events_read": 100.0, "prepare.events_filtered": 6.0, "prepare.events_outside_window": 94.0 - rows}


def test_each_date_is_what_its_release_and_the_events_now_say(spark, lake, frame, config, tmp_path):
    own = hash_config(config)
    # Published when the events of their days were there: 2, 4, ... rows.
    for n in range(4):
        row = publish(lake, staged(lake, frame, release_of(D[n], own if n != 2 else "other")))
        if n < 2:
            record_status(lake, D[n], row.run_id, "published", "", {}, counted(2 * (n + 1)))
        elif n == 2:
            # Rolled forward by another run: its stages say it.
            record_stage(lake, row.run_id, "prepare", "id", counted(6), RunFacts())
    _claim(lake, staged(lake, frame, release_of(D[4], own)))
    assert [(f.state, f.reason.split("; ", 1)[-1]) for f in look(lake, config, D[:7])] == [
        ("published", f"published by run {D[0]:%Y%m%d}-aaaaaaaa-000000"),
        ("published", f"published by run {D[1]:%Y%m%d}-aaaaaaaa-000000"),
        ("published", f"published by run {D[2]:%Y%m%d}-aaaaaaaa-000000, under another config"),
        ("published", "how many events it read is not known any more"),
        ("cut short", "its publication was cut short, or is under way"),
        ("missing", "no release"),
        ("missing", "no release"),
    ]
    # Three events of the second day come with a later file: the first day does not know them, the third does.
    write_day(spark, tmp_path, D[6], [D[1]] * 3, "late")
    found = look(lake, config, D[:3])
    assert [f.state for f in found] == ["published", "stale", "stale"]
    assert found[1].reason.endswith("3 of 7 event rows came later")

    ran = []

    def night(ds, options, summary):
        ran.append((ds, options.force, options.resume))
        if ds == D[6]:
            raise EmptyDayError("no events")

    def job(**asked):
        ran.clear()
        summary = RunSummary("backfill", "")
        try:
            backfill(spark, config, Span(D[1], D[7], **asked), night, summary, open_console())
        finally:
            job.summary = summary

    job(dry_run=True, redo_stale=True)
    assert (ran, job.summary.state) == ([], "checked")
    assert job.summary.message == "dry run: 6 of 7 dates would be run; nothing was written"
    assert latest_release(lake, D[4]) is None
    # Oldest first, up to the first that fails; the publication that was cut short is finished.
    with pytest.raises(EmptyDayError) as caught:
        job()
    assert caught.value.exit_code == 10
    assert ran == [(D[5], False, True), (D[6], False, True)]
    assert latest_release(lake, D[4]).config_hash == own
    assert list(job.summary.stages) == [str(D[4]), str(D[5])]
    with pytest.raises(EmptyDayError):
        job(redo_stale=True)
    assert ran == [(D[1], True, True), (D[2], True, True), (D[5], False, True), (D[6], False, True)]
    backfill(spark, config, Span(D[0], D[0]), night, job.summary, open_console())
    assert (job.summary.state, job.summary.message) == ("nothing to do", "0 of 1 dates run")


def test_a_span_that_ends_before_it_starts_is_refused():
    with pytest.raises(ConfigError, match=r"--end 2026-06-01 is before --start 2026-06-02"):
        Span(D[1], D[0]).dates  # noqa: B018
    assert Span(D[0], D[2]).dates == D[:3]
