"""Fifty races of two publishers for one date: one wins, the other is told so, and what stands is one run's whole."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import AnotherPublisherWonError
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import latest_release, publish, roll_forward, stage_rows, staged_name
from recsys_batch.spark.publish.rollback import roll_back
from tests.spark.test_spark_publish import DS, GATES, RANKED, SIMILAR, USERS, Release

RACES = 50


def stage_many(lake, frame):
    """Stage run0 to run100: each with two tables of one row, whose item names the run."""
    rows = [
        {"key": "u1", "rank": 1, "item": f"run{n}", "score": 1.0, "sources": ["content"], "reason": ("k", "X", "t")}
        for n in range(2 * RACES + 1)
    ]
    for table in (USERS, SIMILAR):
        stage_rows(lake, table, frame(RANKED, rows).coalesce(1), DS, "all", "m1")
        # Every run has a slice of its own.
        item = "item_id" if table == USERS else "similar_item_id"
        path = lake.path(staged_name(table))
        lake.spark.sql(f"UPDATE delta.`{path}` SET run_id = {item}").collect()


def release(number, replaces):
    run_id, counts = f"run{number}", dict.fromkeys((USERS, SIMILAR), 1)
    return Release(
        run_id, DS, run_id, "publish", counts, GATES, {}, "hash", "1", {"encoder": "m1"}, replaces, (USERS, SIMILAR)
    )


def late(seconds, publisher):
    time.sleep(seconds)
    return publisher()


def attempt(publisher):
    try:
        return publisher()
    except AnotherPublisherWonError:
        return None


@pytest.mark.long
def test_of_two_publishers_one_wins_fifty_times(spark, frame, tmp_path):
    draws = random.Random(7)
    lake = Lake.at(spark, str(tmp_path / "lake"))
    stage_many(lake, frame)
    standing = publish(lake, release(0, None))
    won = {"first": 0, "second": 0, "rollback": 0}
    for race in range(RACES):
        first, second = release(2 * race + 1, standing.release_id), release(2 * race + 2, standing.release_id)
        racers = {"first": partial(publish, lake, first), "second": partial(publish, lake, second)}
        if race % 2:
            # Back to the very first one, against a night. It reads more before it claims, so the night waits a little:
            # either may come first.
            del racers["second"]
            racers["first"] = partial(late, draws.uniform(0, 3), racers["first"])
            racers["rollback"] = lambda: roll_back(lake, DS, "run0").release
        names = draws.sample(sorted(racers), 2)
        with ThreadPoolExecutor(2) as pool:
            rows = dict(zip(names, pool.map(attempt, [racers[name] for name in names]), strict=True))
        assert roll_forward(lake, DS) is None
        before, standing = standing, latest_release(lake, DS)
        winners = [name for name, row in rows.items() if row is not None and row.release_id == standing.release_id]
        assert len(winners) == 1, rows
        # A rollback that came second may have found its own goal standing, or gone on from the night's release.
        assert standing.replaces == before.release_id or winners == ["rollback"]
        won[winners[0]] += 1
        users, similar = (lake.read_ds(table, DS, standing.tables[table]).collect() for table in (USERS, SIMILAR))
        assert [(r.run_id, r.item_id) for r in users] == [(standing.run_id, standing.run_id)]
        assert [(r.run_id, r.similar_item_id) for r in similar] == [(standing.run_id, standing.run_id)]
        newest = [lake.read_ds(table, DS).first().run_id for table in (USERS, SIMILAR)]
        assert newest == [standing.run_id] * 2
    assert sum(won.values()) == RACES
    assert min(won.values()) > 0, won
    rows = lake.read(Tables.RELEASES).select("release_id", "replaces").collect()
    assert len({row.replaces for row in rows}) == len(rows)
