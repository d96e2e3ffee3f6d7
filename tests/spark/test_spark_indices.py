"""Stable indices against a dictionary that grows by the sorted new ids, alone and with other runs at once."""

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import RecsysBatchError
from recsys_batch.spark.lake.indices import append_indices, assign_indices, count_missing


def ids_of(frame, ids):
    return frame({"id": "string"}, [{"id": id_} for id_ in ids])


def indices_of(assigned):
    rows = assigned.collect()
    found = {row["id"]: row["index"] for row in rows}
    assert len(found) == len(rows)
    return found


def stored(lake, kind):
    rows = lake.read(Tables.ID_INDICES).where(f"kind = '{kind}'").collect()
    found = {row["id"]: row["index"] for row in rows}
    assert len(found) == len(rows)
    assert sorted(found.values()) == list(range(len(rows)))
    return found


def test_an_id_keeps_its_index_and_new_ones_follow_in_their_order(frame, lake):
    draw = random.Random(1)
    pool = [f"{letter}{n}" for letter in "aZ茶é" for n in range(12)]
    expected = {"item": {}, "user": {}}
    for kind in ("item", "user", "item"):
        asked = [draw.choice(pool) for _ in range(25)] + [None]
        known = expected[kind]
        for id_ in sorted(set(asked) - known.keys() - {None}):
            known[id_] = len(known)
        found = assign_indices(lake, kind, ids_of(frame, asked).repartition(3))
        assert found.dtypes == [("id", "string"), ("index", "int")]
        assert indices_of(found) == {id_: known[id_] for id_ in asked if id_ is not None}
    assert {kind: stored(lake, kind) for kind in expected} == expected


def test_a_run_that_never_gets_its_turn_says_so(frame, lake):
    assign_indices(lake, "item", ids_of(frame, ["a"]))
    with pytest.raises(RecsysBatchError, match=r"id_indices: other runs appended user indices") as caught:
        assign_indices(lake, "user", ids_of(frame, ["new"]), max_attempts=0)
    assert caught.value.exit_code == 30
    assert stored(lake, "user") == {}


def test_runs_at_once_number_their_ids_densely_and_leave_earlier_indices_alone(frame, lake):
    before = indices_of(assign_indices(lake, "item", ids_of(frame, ["m1", "a1"])))
    runs = [
        ("item", ["a1", "b1", "b2", "z1"]),
        ("item", ["b2", "a0", "m1"]),
        ("user", ["u2", "u1"]),
    ]
    together = Barrier(len(runs))

    def run(kind, ids):
        together.wait()
        return indices_of(assign_indices(lake, kind, ids_of(frame, ids)))

    with ThreadPoolExecutor(len(runs)) as pool:
        found = [future.result() for future in [pool.submit(run, *each) for each in runs]]
    items = stored(lake, "item")
    assert items.keys() == {"a0", "a1", "b1", "b2", "m1", "z1"}
    assert before.items() <= items.items()
    assert stored(lake, "user") == {"u1": 0, "u2": 1}
    for (kind, ids), one in zip(runs, found, strict=True):
        assert one == {id_: (items if kind == "item" else {"u1": 0, "u2": 1})[id_] for id_ in ids}


def test_of_two_runs_that_read_the_same_last_index_one_appends(frame, lake):
    assign_indices(lake, "item", ids_of(frame, ["m"]))
    num_missing, first = count_missing(lake, "item", ids_of(frame, ["m", "a", "b"]))
    assert num_missing == 2
    assert first == 1
    runs = [["a", "b"], ["b", "c"]]
    together = Barrier(2)

    def append(ids):
        frame_of_ids = ids_of(frame, ids)
        together.wait()
        return append_indices(lake, "item", frame_of_ids, first)

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(append, runs))
    winner = stored(lake, "item")
    assert winner == ({"m": 0, "a": 1, "b": 2} if won[0] else {"m": 0, "b": 1, "c": 2})
    assert sum(won) == 1
    # A run that was away while others appended inserts nothing with what it read.
    assert not append_indices(lake, "item", ids_of(frame, ["a", "c", "d"]), first)
    assert stored(lake, "item") == winner
    # What it reads next is enough.
    assigned = indices_of(assign_indices(lake, "item", ids_of(frame, ["a", "b", "c"])))
    assert winner.items() <= stored(lake, "item").items()
    assert assigned == {id_: index for id_, index in stored(lake, "item").items() if id_ != "m"}
