"""Which stages a run goes through and whose tables it reads, on slices and records of earlier runs."""

from datetime import date

import pytest

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.run_facts import RunFacts
from recsys_batch.night.plan import Plan, Stage, plan_one, plan_rest, plan_whole
from recsys_batch.spark.lake.files import delete_folder
from recsys_batch.spark.lake.prepared import read_prepared, replace_prepared
from recsys_batch.spark.lake.runs import record_stage, retire_run
from recsys_batch.spark.publish.release import Release, publish, stage_rows
from tests.spark.test_spark_publish import RANKED

DS = date(2026, 6, 30)
A, B, C = (f"20260630-0000000{n}-00000{n}" for n in (1, 2, 3))
NAMES = ("prepare", "encode", "retrieve", "rank", "publish")
STAGES = [Stage(name, lambda run: None, ()) for name in NAMES]
USERS = Tables.USER_RECOMMENDATIONS


def identities(changed="", mark="mine"):
    """The identity of every stage; from the stage `changed` on those of another config."""
    place = NAMES.index(changed) if changed else len(NAMES)
    return {name: f"{name} {mark if number >= place else ''}" for number, name in enumerate(NAMES)}


def work(lake, frame, run_id, made, until, rests_on=None):
    """Leave what a run does that goes through the stages up to `until`, from the end of `rests_on` on."""
    facts = RunFacts(dict(rests_on or {}))
    for name in NAMES[: NAMES.index(until) + 1]:
        if name in facts.made_by:
            continue
        facts.made_by[name] = run_id
        if name == "prepare":
            items = frame({"item_id": "string", "eligible": "boolean"}, [{"item_id": run_id, "eligible": True}])
            replace_prepared(lake, Tables.ITEMS, items, DS, run_id)
        if name == "retrieve":
            for folder in ("index", "profiles", "candidates"):
                frame({"n": "int"}, [{"n": 1}]).write.parquet(lake.path(f"runs/{run_id}/{folder}/x"))
        record_stage(lake, run_id, name, made[name], {f"{name}.n": 1}, facts)
    return facts.made_by


def makers(plan):
    assert isinstance(plan, Plan)
    return {stage.stage: stage.run_id for stage in plan.reused}


def todo(plan):
    return [stage.name for stage in plan.todo]


def test_a_run_reads_the_tables_it_goes_on_from_whoever_prepared_the_date_since(lake, frame):
    """A was stopped after prepare; B, under another rule, prepared the date after it."""
    work(lake, frame, A, identities(), "prepare")
    work(lake, frame, B, identities("prepare"), "prepare")
    plan = plan_rest(lake, DS, STAGES, identities())
    assert (makers(plan), todo(plan)) == ({"prepare": A}, ["encode", "retrieve", "rank", "publish"])
    # A process of its own works under an id of its own.
    assert plan.run_id not in (A, B)
    prepared = plan.start_from().made_by["prepare"]
    assert [row.item_id for row in read_prepared(lake, Tables.ITEMS, DS, prepared).collect()] == [A]
    assert makers(plan_rest(lake, DS, STAGES, identities("prepare"))) == {"prepare": B}
    assert makers(plan_rest(lake, DS, STAGES, identities("prepare", "third"))) == {}


def test_a_run_starts_where_something_changed(lake, frame):
    assert todo(plan_rest(lake, DS, STAGES, identities())) == list(NAMES)  # an empty lake
    made_by = work(lake, frame, A, identities(), "rank")
    for number, name in enumerate(NAMES):
        plan = plan_rest(lake, DS, STAGES, identities(name))
        assert (makers(plan), todo(plan)) == (dict.fromkeys(NAMES[:number], A), list(NAMES[number:])), name
    # What A staged is published under A's id; a whole run has nothing to do with it.
    assert plan_rest(lake, DS, STAGES, identities()).run_id == A
    assert todo(plan_whole(DS, STAGES, identities())) == list(NAMES)
    # C goes on from A's candidates; who goes on from C goes on from A's too, though B has newer ones.
    candidates = {name: made_by[name] for name in NAMES[:3]}
    work(lake, frame, C, identities("rank"), "rank", candidates)
    work(lake, frame, B, identities(), "retrieve")
    assert makers(plan_rest(lake, DS, STAGES, identities("rank"))) == candidates | {"rank": C}
    assert makers(plan_rest(lake, DS, STAGES, identities("rank", "other"))) == dict.fromkeys(NAMES[:3], B)


def test_one_stage_needs_those_before_it(lake, frame):
    work(lake, frame, A, identities(), "encode")
    plan = plan_one(lake, DS, STAGES, identities(), "retrieve")
    assert (makers(plan), todo(plan)) == ({"prepare": A, "encode": A}, ["retrieve"])
    assert todo(plan_one(lake, DS, STAGES, identities(), "prepare")) == ["prepare"]
    assert plan_one(lake, DS, STAGES, identities(), "rank") == "retrieve"
    assert plan_one(lake, DS, STAGES, identities("encode"), "retrieve") == "encode"


@pytest.mark.parametrize("gone", ["files", "slice", "run"])
def test_a_run_goes_on_only_from_what_is_still_there(lake, frame, gone):
    work(lake, frame, A, identities(), "retrieve")
    if gone == "files":
        delete_folder(lake.spark, lake.path(f"runs/{A}/candidates"))
    elif gone == "slice":
        lake.spark.sql(f"DELETE FROM delta.`{lake.path(Tables.ITEMS)}` WHERE run_id = '{A}'")
    else:
        retire_run(lake, A)
    expected = dict.fromkeys(NAMES[:2], A) if gone == "files" else {}
    assert makers(plan_rest(lake, DS, STAGES, identities())) == expected


def test_what_a_release_staged_is_staged_anew(lake, frame):
    work(lake, frame, A, identities(), "rank")
    row = {"key": "u", "rank": 1, "item": "i", "score": 1.0, "sources": ["content"], "reason": ("similar", "X", "x")}
    stage_rows(lake, USERS, frame(RANKED, [row]), DS, A, "m1")
    publish(lake, Release(A, DS, A, "publish", {USERS: 1}, (), {}, "h", "1", {}, None, (USERS,)))
    plan = plan_rest(lake, DS, STAGES, identities())
    assert (makers(plan), todo(plan)) == (dict.fromkeys(NAMES[:3], A), ["rank", "publish"])
    assert plan.run_id != A
