"""Raw ids of nights before pseudonyms: what becomes of them in every table, and what stays as it is."""

import hashlib
import hmac
from datetime import date

import pytest

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.spark.lake.indices import assign_indices
from recsys_batch.spark.lake.prepared import replace_prepared
from recsys_batch.spark.maintain.raw_ids import Renamed, rename_users

KEY = b"a secret of some length"
PREPARE = Prepare(pseudonymize_with="TEST_PSEUDONYM_KEY", id_case="upper")
OLD, NEW = date(2026, 6, 24), date(2026, 6, 25)
EVENTS = {"user_id": "string", "session_id": "string", "event_id": "string", "item_id": "string"}
QUARANTINE = "events_quarantine"


def pseudonym(id_):
    return hmac.new(KEY, id_.encode(), hashlib.sha256).hexdigest()[:32]


# As a shop may make the ids of sessions: it looks like a pseudonym, and belongs to a raw user.
DIGEST = hashlib.md5(b"u1").hexdigest()
RAW = {"user_id": "U1", "session_id": DIGEST, "event_id": "u1/1", "item_id": "A"}
NOBODY = {"user_id": None, "session_id": "u1/s", "event_id": None, "item_id": "A"}
HIDDEN = {"user_id": pseudonym("U2"), "session_id": pseudonym("u2/s"), "event_id": None, "item_id": "B"}
LISTED = {"user_id": "string", "rank": "int", "item_id": "string", "ds": "date", "run_id": "string"}


@pytest.fixture
def two_nights(frame, lake):
    """One night before pseudonyms and one with them."""
    for ds, rows in ((OLD, [RAW]), (NEW, [HIDDEN])):
        replace_prepared(lake, Tables.INTERACTIONS, frame(EVENTS, rows), ds, f"run {ds}")
        first = {"rank": 1, "item_id": "A", "ds": ds, "run_id": f"run {ds}"}
        lists = [{"user_id": row["user_id"], **first} for row in rows]
        lake.replace_ds(Tables.USER_RECOMMENDATIONS, frame(LISTED, lists), ds)
        lake.replace_slice(f"staged/{Tables.USER_RECOMMENDATIONS}", frame(LISTED, lists), f"ds = '{ds}'", ("run_id",))
    lake.replace_ds(QUARANTINE, frame(EVENTS | {"ds": "date"}, [NOBODY | {"ds": OLD}]), OLD)
    lake.append(Tables.ITEMS, frame({"item_id": "string", "title": "string"}, [{"item_id": "A", "title": "U1"}]))
    for kind, ids in (("item", ["A"]), ("user", ["U0", "U1"]), ("user", [pseudonym("U1"), pseudonym("U2")])):
        assign_indices(lake, kind, frame({"id": "string"}, [{"id": id_} for id_ in ids])).collect()
    return lake


def rows_of(lake, name, *columns):
    return sorted(tuple(row) for row in lake.read(name).select(*columns).collect())


def test_raw_ids_become_the_pseudonyms_that_nights_give_and_pseudonyms_stay(two_nights):
    lake = two_nights
    before = {row.id: row["index"] for row in lake.read(Tables.ID_INDICES).where("kind = 'user'").collect()}
    assert rename_users(lake, PREPARE, KEY) == Renamed(tables=5, rows=1 + 1 + 1 + 1 + 2)
    ids = ("user_id", "session_id", "event_id")
    assert rows_of(lake, Tables.INTERACTIONS, *ids) == sorted(
        [
            (pseudonym("U1"), pseudonym(DIGEST), pseudonym("u1/1")),
            (pseudonym("U2"), pseudonym("u2/s"), None),
        ]
    )
    assert rows_of(lake, QUARANTINE, *ids) == [(None, pseudonym("u1/s"), None)]
    both = sorted([(pseudonym("U1"), OLD), (pseudonym("U2"), NEW)])
    for name in (Tables.USER_RECOMMENDATIONS, f"staged/{Tables.USER_RECOMMENDATIONS}"):
        assert rows_of(lake, name, "user_id", "ds") == both
    assert rows_of(lake, Tables.ITEMS, "item_id", "title") == [("A", "U1")]
    # Who has an index under the pseudonym keeps that one, who has none the one from before.
    after = {row.id: row["index"] for row in lake.read(Tables.ID_INDICES).where("kind = 'user'").collect()}
    assert after == {
        pseudonym("U0"): before["U0"],
        pseudonym("U1"): before[pseudonym("U1")],
        pseudonym("U2"): before[pseudonym("U2")],
    }
    assert rows_of(lake, Tables.ID_INDICES, "kind", "id")[0] == ("item", "A")


def test_a_second_time_and_a_dry_run_change_nothing(two_nights):
    lake = two_nights
    tables = (Tables.INTERACTIONS, Tables.USER_RECOMMENDATIONS, QUARANTINE, Tables.ID_INDICES)
    versions = [lake.latest_version(name) for name in tables]
    assert rename_users(lake, PREPARE, KEY, dry_run=True) == Renamed(5, 6)
    assert [lake.latest_version(name) for name in tables] == versions
    rename_users(lake, PREPARE, KEY)
    versions = [lake.latest_version(name) for name in tables]
    assert rename_users(lake, PREPARE, KEY) == Renamed(0, 0)
    assert [lake.latest_version(name) for name in tables] == versions
