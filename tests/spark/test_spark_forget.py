"""Forgetting users, table by table: what is deleted, what is set right, what is left out of later inputs."""

import logging
from pathlib import Path
from urllib.parse import urlparse

import pyarrow.parquet as pq
import pytest

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.inputs.suppression import read_suppression, suppress, suppression_key
from recsys_batch.spark.lake.indices import assign_indices
from recsys_batch.spark.maintain.forget import count_rows, delete_rows, delta_tables, keep_users_out_of_bounds
from recsys_batch.spark.publish.release import _claim, latest_release, publish, roll_forward, stage_rows, staged_name
from recsys_batch.spark.publish.rollback import roll_back
from recsys_batch.upkeep.forget_user import find_people, forget_users, read_ids
from tests.contracts.test_load_config import MINIMAL
from tests.spark.test_spark_publish import DS, RANKED, SIMILAR, USERS, Release

SECRET = "a secret of some length"


@pytest.fixture
def config(tmp_path, lake, monkeypatch):
    monkeypatch.setenv("LIST_KEY", SECRET)
    (tmp_path / "shop.yaml").write_text(MINIMAL)
    settings = ("forget.key_with=LIST_KEY", "prepare.id_case=upper", f"lake.root={urlparse(lake.root).path}")
    return load_config(tmp_path / "shop.yaml", settings, env={})


def log_of(lake, name):
    return "".join(p.read_text() for p in sorted(Path(urlparse(lake.path(name)).path, "_delta_log").glob("*.json")))


def ids_of(frame, *ids):
    return frame({"id": "string"}, [{"id": each} for each in ids])


def release(run_id, users, replaces=None):
    counts = {USERS: len(users), SIMILAR: 1}
    return Release(run_id, DS, run_id, "publish", counts, (), {}, "hash", "1", {}, replaces, (USERS, SIMILAR))


def stage(lake, frame, run_id, users):
    for table, keys in ((USERS, users), (SIMILAR, ["A1"])):
        rows = [
            {"key": key, "rank": 1, "item": "A2", "score": 1.0, "sources": ["content"], "reason": ("k", "X", "t")}
            for key in keys
        ]
        stage_rows(lake, table, frame(RANKED, rows).coalesce(1), DS, run_id, "m1")
    return release(run_id, users)


def test_a_suppressed_user_is_left_out_however_the_id_is_written(lake, raw, config):
    assert read_suppression(lake, config, {}).hashes == frozenset()
    rows = [{"user_id": u, "event_id": str(n)} for n, u in enumerate(["u1", " U1 ", "Ｕ１", "u11", None, "U2"])]
    events = raw("events", rows)
    assert read_suppression(lake, config, {}).without(events, "upper") is events
    key = suppression_key(config, {"LIST_KEY": SECRET})
    (person,) = find_people(["u1", "U1 "], config, key, {})
    assert set(person.names) == {"U1", "u1"}
    assert "u1" not in repr(person).lower()
    for _ in range(2):
        suppress(lake, {person.user_hash}, key)
    assert lake.read(Tables.SUPPRESSED_USERS).count() == 1
    found = read_suppression(lake, config, {"LIST_KEY": SECRET})
    assert SECRET not in repr(found)
    kept = found.without(events, "upper").select("event_id").collect()
    assert sorted(row.event_id for row in kept) == ["3", "4", "5"]
    for environ, why in (({}, "is not set"), ({"LIST_KEY": SECRET + "!"}, "was made with another key")):
        with pytest.raises(ConfigError, match=why):
            read_suppression(lake, config, environ)
    nameless = config.model_copy(update={"forget": config.forget.model_copy(update={"key_with": ""})})
    with pytest.raises(ConfigError, match=r"forget\.key_with: not set"):
        read_suppression(lake, nameless, {})
    # Where ids are pseudonyms, their key serves.
    prepare = config.prepare.model_copy(update={"pseudonymize_with": "LIST_KEY"})
    pseudonymous = nameless.model_copy(update={"prepare": prepare})
    assert read_suppression(lake, pseudonymous, {"LIST_KEY": SECRET}).hashes == found.hashes
    assert len(find_people(["u1"], pseudonymous, key, {"LIST_KEY": SECRET})[0].names) == 3


def test_ids_come_from_options_and_a_file(tmp_path):
    (tmp_path / "ids").write_text("u1\n\n u2 \n")
    assert read_ids(["u0"], str(tmp_path / "ids")) == ["u0", "u1", " u2 "]
    with pytest.raises(ConfigError, match="nobody to forget"):
        read_ids([" "], "")
    with pytest.raises(ConfigError, match=r"--users-file .*none: No such file"):
        read_ids([], str(tmp_path / "none"))


@pytest.mark.parametrize("marks", [False, True])
def test_rows_go_from_a_table_and_its_log_says_nothing(lake, frame, marks):
    """Also where Delta only marks rows as deleted: the newest version has no file with them."""
    rows = [{"user_id": f"u{n}", "n": n} for n in (1, 1, 2, 3)] + [{"n": 5}]
    lake.append("datasets/time/interactions", frame({"user_id": "string", "n": "int"}, rows).coalesce(1))
    name = "datasets/time/interactions"
    if marks:
        path = lake.path(name)
        lake.spark.sql(f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    assign_indices(lake, "user", ids_of(frame, "u1", "u2"))
    assign_indices(lake, "item", ids_of(frame, "u1"))
    assert delta_tables(lake) == [name, Tables.ID_INDICES]
    ids = ids_of(frame, "u1", "nobody")
    assert (count_rows(lake, name, ids), count_rows(lake, Tables.ID_INDICES, ids)) == (2, 1)
    for table in (name, Tables.ID_INDICES):
        delete_rows(lake, table, ids)
        assert count_rows(lake, table, ids) == 0
    assert sorted(row.n for row in lake.read(name).collect()) == [2, 3, 5]
    assert {tuple(row) for row in lake.read(Tables.ID_INDICES).collect()} == {("user", "u2", 1), ("item", "u1", 0)}

    files = [pq.read_table(urlparse(uri).path) for uri in lake.read(name).inputFiles()]
    held = {id_ for file in files for id_ in file["user_id"].to_pylist()}
    assert held == {"u2", "u3", None}
    assert "u1" not in log_of(lake, name)


def test_the_log_of_user_lists_keeps_no_bounds_of_users(lake, frame):
    stage(lake, frame, "A", ["u1", "u2"])
    publish(lake, release("A", ["u1", "u2"]))
    for name in (USERS, staged_name(USERS)):
        assert "u1" not in log_of(lake, name)
    log = log_of(lake, USERS)
    assert all(f'\\"{column}\\"' in log for column in ("rank", "item_id", "score"))
    # A table of an older version: from now on it keeps none.
    path = lake.path(USERS)
    lake.spark.sql(f"ALTER TABLE delta.`{path}` UNSET TBLPROPERTIES ('delta.dataSkippingStatsColumns')")
    keep_users_out_of_bounds(lake)
    stage(lake, frame, "B", ["u1", "u3"])
    publish(lake, release("B", ["u1", "u3"], "A"))
    assert not {"u1", "u3"} & set(log_of(lake, USERS).replace("\\", "").split('"'))


def test_releases_are_set_right_and_rollback_goes_on(lake, frame, config, caplog):
    caplog.set_level(logging.INFO)
    for run_id, users in (("A", ["U1", "U2"]), ("B", ["U1", "U2", "U3"]), ("C", ["U1", "U3"])):
        stage(lake, frame, run_id, users)
    publish(lake, release("A", ["U1", "U2"]))
    publish(lake, release("B", ["U1", "U2", "U3"], "A"))
    _claim(lake, release("C", ["U1", "U3"], "B"))
    Path(urlparse(lake.path("runs/20260630-01234567-012345/prepare")).path).mkdir(parents=True)

    def forget(**options):
        summary = RunSummary("forget", "")
        forget_users(lake, config, ["u1"], summary, **options)
        return summary

    checked = forget(dry_run=True)
    assert (checked.state, checked.counts[f"forget.rows in {USERS}"]) == ("checked", 1)
    assert not lake.exists(Tables.SUPPRESSED_USERS)
    done = forget()
    # B's rows of U1 stand in a file of an older version of the table.
    assert (done.state, done.counts["forget.users_proven"]) == ("done", 0)
    row = lake.read(Tables.FORGET_CERTIFICATES).first()
    assert row.state == "pending"
    assert row.tables == {USERS: 1, staged_name(USERS): 3}
    assert any(name.startswith(f"{USERS}/ds=") for name in row.files)
    assert not any("_delta_log" in name for name in row.files)
    assert not Path(urlparse(lake.path("runs/20260630-01234567-012345")).path).exists()
    standing = latest_release(lake, DS)
    assert (standing.release_id, standing.row_counts) == ("B", {USERS: 2, SIMILAR: 1})
    at_version = lake.read_ds(USERS, DS, standing.tables[USERS])
    assert sorted(r.user_id for r in at_version.collect()) == ["U2", "U3"]
    # The publication that was cut short is finished, and a rollback finds the slices that it counts.
    assert roll_forward(lake, DS) == "C"
    assert [r.user_id for r in lake.read_ds(USERS, DS).collect()] == ["U3"]
    assert roll_back(lake, DS, "A").release.row_counts == {USERS: 1, SIMILAR: 1}
    assert [r.user_id for r in lake.read_ds(USERS, DS).collect()] == ["U2"]
    assert not any("u1" in record.getMessage().lower().split() for record in caplog.records)
