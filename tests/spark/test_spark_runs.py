from datetime import date

from recsys_batch.contracts.columns import Tables
from recsys_batch.spark.lake.runs import find_unfinished, record_stage, record_status, retire_runs

D1, D2 = date(2026, 6, 29), date(2026, 6, 30)


def test_the_newest_unpublished_run_of_the_identity_is_found(lake):
    assert find_unfinished(lake, D2, "same") is None
    record_stage(lake, D2, "run-1", "same", "prepare", 1.5, {"prepare.items": 7}, finished=False)
    record_stage(lake, D2, "run-2", "same", "prepare", 1.0, {"prepare.items": 8}, finished=False)
    record_stage(lake, D2, "run-2", "same", "encode", 2.0, {}, finished=False)
    record_stage(lake, D2, "run-3", "other", "prepare", 1.0, {}, finished=False)
    record_stage(lake, D1, "run-4", "same", "prepare", 1.0, {}, finished=False)
    assert find_unfinished(lake, D2, "same") == ("run-2", {"prepare": {"prepare.items": 8.0}, "encode": {}})
    assert find_unfinished(lake, D2, "other") == ("run-3", {"prepare": {}})
    assert find_unfinished(lake, D1, "same") == ("run-4", {"prepare": {}})
    assert find_unfinished(lake, D2, "unheard") is None


def test_a_released_run_is_not_resumed(lake):
    record_stage(lake, D2, "run-1", "same", "prepare", 1.0, {}, finished=False)
    record_stage(lake, D2, "run-1", "same", "publish", 1.0, {}, finished=True)
    assert find_unfinished(lake, D2, "same") is None
    record_stage(lake, D2, "run-2", "same", "prepare", 1.0, {"n": 1}, finished=False)
    assert find_unfinished(lake, D2, "same") == ("run-2", {"prepare": {"n": 1.0}})


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


def test_a_run_whose_files_are_removed_is_not_resumed(lake):
    assert retire_runs(lake, ["run-1"]) == 0  # a lake without runs
    record_stage(lake, D2, "run-1", "same", "prepare", 1.0, {}, finished=False)
    record_stage(lake, D2, "run-2", "same", "prepare", 1.0, {}, finished=False)
    record_stage(lake, D2, "run-2", "same", "encode", 1.0, {}, finished=False)
    record_stage(lake, D1, "run-3", "other", "publish", 1.0, {}, finished=True)
    assert retire_runs(lake, ["run-2", "run-3", "run-4"]) == 1
    assert find_unfinished(lake, D2, "same") == ("run-1", {"prepare": {}})
    rows = lake.read("run_stages").count()
    assert retire_runs(lake, {"run-2": 0, "run-3": 0}) == 0
    assert lake.read("run_stages").count() == rows == 5
