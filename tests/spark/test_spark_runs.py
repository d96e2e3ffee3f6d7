from concurrent.futures import ThreadPoolExecutor
from datetime import date

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.gates import Check
from recsys_batch.contracts.run_facts import RunFacts
from recsys_batch.spark.lake.runs import (
    finished_stages,
    record_stage,
    record_status,
    retire_run,
    stages_of,
    start_run,
)

D1, D2 = date(2026, 6, 29), date(2026, 6, 30)
ONE, TWO, OTHER = "20260630-01010101-00000a", "20260630-02020202-00000b", "20260629-03030303-00000c"


def found(lake, ds):
    return [(each.stage, each.run_id, each.identity) for each in finished_stages(lake, ds)]


def test_the_stages_of_a_dates_runs_are_found_newest_first(lake):
    assert finished_stages(lake, D2) == []
    start_run(lake, ONE)
    assert found(lake, D2) == []
    record_stage(lake, ONE, "prepare", "p1", {"prepare.items": 7}, RunFacts({"prepare": ONE}))
    record_stage(lake, TWO, "prepare", "p2", {}, RunFacts({"prepare": TWO}))
    record_stage(lake, OTHER, "prepare", "p1", {}, RunFacts({"prepare": OTHER}))
    record_stage(lake, ONE, "encode", "e1", {}, RunFacts({"prepare": ONE, "encode": ONE}))
    start_run(lake, ONE)  # goes on to publish what it staged: what it has finished stays
    assert found(lake, D2) == [("encode", ONE, "e1"), ("prepare", TWO, "p2"), ("prepare", ONE, "p1")]
    assert found(lake, D1) == [("prepare", OTHER, "p1")]
    assert finished_stages(lake, D2)[2].counts == {"prepare.items": 7}
    retire_run(lake, ONE)
    retire_run(lake, ONE)
    assert found(lake, D2) == [("prepare", TWO, "p2")]


def test_two_processes_that_go_on_from_one_run_lose_nothing_of_what_it_has_finished(lake):
    """Both publish what it staged, and so work under its id."""
    record_stage(lake, ONE, "rank", "r1", {}, RunFacts({"rank": ONE}))

    def go_on(number):
        seen = []
        for again in range(5):
            start_run(lake, ONE)
            seen.append(stages_of(lake, ONE)[0].stage)
            record_stage(lake, ONE, "publish", f"{number}-{again}", {}, RunFacts({"rank": ONE}))
        return seen

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(go_on, range(2))) == [["rank"] * 5] * 2
    published = {f"{number}-{again}" for number in range(2) for again in range(5)}
    assert {each.identity for each in stages_of(lake, ONE)} == published | {"r1"}


def test_what_a_run_knew_comes_back(lake):
    check = Check("events", "rows of 手机", 3.0, 2.0, "pass")
    facts = RunFacts({"prepare": ONE, "retrieve": TWO}, [check], {"similar_items": 4}, {"similar_items": 40})
    record_stage(lake, TWO, "retrieve", "r1", {}, facts)
    assert stages_of(lake, TWO)[0].facts == facts


def test_every_end_of_a_run_is_a_row(lake):
    record_status(lake, D2, "run-1", "failed", "GateFailedError: ranks", {"encode": 2}, {"encode.texts": 7})
    record_status(lake, D2, "run-1", "published", "", {"encode": 2.5}, {})
    rows = lake.read(Tables.RUN_STATUS).orderBy("finished_at").collect()
    assert [(row.ds, row.run_id, row.state, row.message) for row in rows] == [
        (D2, "run-1", "failed", "GateFailedError: ranks"),
        (D2, "run-1", "published", ""),
    ]
    assert [(row.seconds, row.counts) for row in rows] == [
        ({"encode": 2.0}, {"encode.texts": 7.0}),
        ({"encode": 2.5}, {}),
    ]
