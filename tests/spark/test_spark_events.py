from collections import Counter
from datetime import date, datetime, timedelta

import pytest

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.prepare import Accounts, Prepare
from recsys_batch.spark.events.classify import classify_events, cut_sessions
from recsys_batch.spark.events.rows import normalize_events
from recsys_batch.spark.inputs.notes import NOTES

DS = date(2026, 6, 30)
# The window of 10 days: 2026-06-21 00:00:00 up to and without 2026-07-01 00:00:00.
PREPARE = Prepare(
    lookback_days=10,
    id_case="upper",
    non_product_ids="^(POST|FEE)$",
    accounts=Accounts(test_ids="^TEST_"),
    clock_tolerance_minutes=10.0,
)
BASE = {"user_id": "U1", "item_id": "A", "event_type": "view", "event_time": "2026-06-30 10:00:00"}

# domain: (expected statuses, what differs from a good row). Rows of one label make one entry.
CASES = {
    "good": (["used"], [{}]),
    "canonical": (["used"], [{"user_id": " u1 ", "item_id": "ａ", "event_type": " VIEW "}]),
    "search": (["used"], [{"event_type": "search", "item_id": None, "query": " 绿茶  Tea "}]),
    "search-with-item": (["used"], [{"event_type": "search", "query": "tea", "item_id": "B"}]),
    "first-instant-of-the-window": (["used"], [{"event_time": "2026-06-21 00:00:00.000000"}]),
    "before-the-window": (["outside_window"], [{"event_time": "2026-06-20 23:59:59.999999"}]),
    "last-instant-of-ds": (["used"], [{"event_time": "2026-06-30 23:59:59.999999"}]),
    "day-after-ds": (["outside_window"], [{"event_time": "2026-07-01 00:00:00.000000"}]),
    "filtered": (["filtered"], [{"_kept": False}]),
    "no-type": (["missing_event_type"], [{"event_type": None}]),
    "other-type": (["unknown_event_type"], [{"event_type": "hover"}]),
    "no-time": (["missing_event_time"], [{"event_time": None}]),
    "no-user": (["missing_user_id"], [{"user_id": None}]),
    "blank-user": (["missing_user_id"], [{"user_id": "  "}]),
    "no-item": (["missing_item_id"], [{"item_id": None}]),
    "unknown-item": (["unknown_item"], [{"item_id": "Z"}]),
    "unknown-item-of-a-search": (["unknown_item"], [{"event_type": "search", "item_id": "Z"}]),
    "non-product": (["non_product"], [{"item_id": "post"}]),
    "test-account": (["test_account"], [{"user_id": "test_7"}]),
    "before-computers": (["clock_error"], [{"event_time": "1970-01-01 00:00:10"}]),
    "a-century-ahead": (["clock_error"], [{"event_time": "2099-01-01 00:00:10"}]),
    # A clock that is wrong by less cannot be told from tomorrow's log, unless the row says when it was received.
    "ahead-and-received": (
        ["future_event", "outside_window", "used"],
        [
            {"event_time": "2026-07-02 10:00:00", "received_at": "2026-06-30 10:05:00"},
            {"event_time": "2026-07-02 10:00:00", "received_at": "2026-07-02 10:05:00"},
            {"event_time": "2026-06-30 10:15:00", "received_at": "2026-06-30 10:05:00"},
        ],
    ),
    "ahead-within-the-window": (
        ["future_event"],
        [{"event_time": "2026-06-29 10:15:01", "received_at": "2026-06-29 10:05:00"}],
    ),
    # A wrong clock in a row that was received on another date is that date's affair.
    "century-ahead-received-before-the-window": (
        ["outside_window"],
        [{"event_time": "2099-01-01 00:00:00", "received_at": "2026-06-21 00:00:00"}],
    ),
    "century-ahead-received-at-the-end-of-ds": (
        ["clock_error"],
        [{"event_time": "2099-01-01 00:00:00", "received_at": "2026-07-01 00:00:00"}],
    ),
    "late": (["used"], [{"event_time": "2026-06-21 00:00:00", "received_at": "2026-07-05 00:00:00"}]),
    # Clicks of one user on one item at most five seconds after the one before.
    "hasty-clicks": (
        ["duplicate_click", "duplicate_click", "used", "used", "used", "used"],
        [
            {"user_id": "H", "event_type": "click", "event_id": "c1", "event_time": "2026-06-30 10:00:00"},
            {"user_id": "H", "event_type": "click", "event_id": "c2", "event_time": "2026-06-30 10:00:05"},
            {"user_id": "H", "event_type": "click", "event_id": "c3", "event_time": "2026-06-30 10:00:09"},
            {"user_id": "H", "event_type": "click", "event_id": "c4", "event_time": "2026-06-30 10:00:14.000001"},
            {
                "user_id": "H",
                "event_type": "click",
                "event_id": "c5",
                "item_id": "B",
                "event_time": "2026-06-30 10:00:01",
            },
            {"user_id": "H", "event_type": "view", "event_id": "c6", "event_time": "2026-06-30 10:00:01"},
        ],
    ),
    "copies-of-other-users": (["used", "used"], [{"event_id": "e9"}, {"event_id": "e9", "user_id": "U2"}]),
    "sent-again": (
        ["duplicate", "used"],
        [{"received_at": "2026-06-30 11:00:00"}, {"received_at": "2026-06-30 12:00:00"}],
    ),
    # Duplicates: where all columns but the time of receipt are equal. A reused event_id makes none.
    "twins": (["duplicate", "duplicate", "used"], [{}, {}, {}]),
    "twins-once-canonical": (["duplicate", "used"], [{"user_id": "u1 "}, {"user_id": "U1"}]),
    "twins-of-an-unknown-item": (["duplicate", "unknown_item"], [{"item_id": "Z"}, {"item_id": "Z"}]),
    "a-microsecond-apart": (
        ["used", "used"],
        [{"event_time": "2026-06-30 10:00:00.000001"}, {"event_time": "2026-06-30 10:00:00.000002"}],
    ),
    "null-is-not-empty": (["used", "used"], [{"session_id": None}, {"session_id": ""}]),
    "null-in-another-column": (
        ["used", "used"],
        [{"quantity": 1.0, "rating": None}, {"quantity": None, "rating": 1.0}],
    ),
    "other-quantity": (["used", "used"], [{"quantity": 1.0}, {"quantity": 2.0}]),
    "same-event-id": (["used", "used"], [{"event_id": "e1"}, {"event_id": "e1", "item_id": "B", "position": 3}]),
    "same-event-id-sent-again": (
        ["duplicate", "used", "used"],
        [
            {"event_id": "e5", "received_at": "2026-06-30 11:00:00"},
            {"event_id": "e5", "received_at": "2026-06-30 12:00:00"},
            {"event_id": "e5", "event_time": "2026-06-29 10:00:00"},
        ],
    ),
    "nobody": (["placeholder_user_id"] * 3, [{"user_id": "NaN"}, {"user_id": " undefined "}, {"user_id": "(not set)"}]),
    "somebody-called-null": (["used"], [{"user_id": "nullmann"}]),
    "different-event-ids": (["used", "used"], [{"event_id": "e2"}, {"event_id": "e3"}]),
    # A faulty row is no duplicate and makes none.
    "good-beside-faulty": (
        ["filtered", "missing_event_time", "outside_window", "used"],
        [
            {"event_id": "e4", "_kept": False},
            {"event_id": "e4", "event_time": None},
            {"event_id": "e4", "event_time": "2025-01-01 00:00:00"},
            {"event_id": "e4"},
        ],
    ),
    # Of several faults one is named, the filter first and the item last; an old row is not quarantined.
    "filter-first": (["filtered"], [{"_kept": False, "event_type": None, "event_time": None, "user_id": None}]),
    "type-before-time": (["missing_event_type"], [{"event_type": None, "event_time": None, "user_id": None}]),
    "other-type-before-time": (["unknown_event_type"], [{"event_type": "x", "event_time": None}]),
    "time-before-user": (["missing_event_time"], [{"event_time": None, "user_id": None, "item_id": None}]),
    "window-before-user": (["outside_window"], [{"event_time": "2026-07-02 00:00:00", "user_id": None}]),
    "user-before-item": (["missing_user_id"], [{"user_id": None, "item_id": None}]),
}


@pytest.fixture(scope="module")
def items(frame):
    return frame(
        {"item_id": "string", "canonical_index": "int"},
        [{"item_id": i, "canonical_index": n} for n, i in enumerate("AB")],
    )


def classify(raw, items, rows, prepare=PREPARE, partitions=2):
    frame = normalize_events(prepare, None)(raw("events", rows).repartition(partitions))
    return classify_events(frame, items, DS, prepare, lambda made, _: made.persist())


@pytest.fixture(scope="module")
def classified(raw, items):
    rows = [BASE | {"domain": label} | change for label, (_, changes) in CASES.items() for change in changes]
    return classify(raw, items, rows)


@pytest.fixture(scope="module")
def statuses(classified):
    return classified.rows.collect()


@pytest.mark.parametrize("label", CASES)
def test_every_row_gets_the_status(statuses, classified, label):
    found = sorted(row.status for row in statuses if row.domain == label)
    assert found == [s for s in CASES[label][0] if s not in ("outside_window", "filtered")]


def test_no_row_is_lost_and_used_rows_are_canonical(classified, statuses):
    expected = [status for statuses_of_case, _ in CASES.values() for status in statuses_of_case]
    assert len(expected) == sum(len(changes) for _, changes in CASES.values())
    assert classified.left_out == {s: expected.count(s) for s in ("outside_window", "filtered")}
    assert len(statuses) == len(expected) - sum(classified.left_out.values())
    assert set(statuses[0].__fields__) == {*Inputs.TYPES["events"], "event_key", "item_index", "status", NOTES}
    by_label = {row.domain: row for row in statuses if row.status == "used"}
    row = by_label["canonical"]
    assert (row.user_id, row.item_id, row.event_type, row.item_index) == ("U1", "A", "view", 0)
    assert (by_label["search"].query, by_label["search"].item_index) == ("绿茶 tea", None)
    assert by_label["search-with-item"].item_index == 1


def test_the_same_copy_is_used_however_the_rows_are_spread(raw, items):
    copies = [
        BASE
        | {
            "event_id": f"e{n}",
            "received_at": None if copy == 2 else f"2026-06-30 1{copy * 7 % 5}:00:00",
        }
        for n in range(8)
        for copy in range(5)
    ]
    used = []
    for rows, partitions in ((copies, 1), (copies, 7), (copies[::-1], 3)):
        made = classify(raw, items, rows, partitions=partitions).rows.where("status = 'used'").collect()
        used.append({(row.event_id, row.received_at) for row in made})
        assert {event_id for event_id, *_ in used[-1]} == {f"e{n}" for n in range(8)}
        assert len(used[-1]) == 8
    assert used[0] == used[1] == used[2]


def test_a_reused_event_id_is_noted_on_all_but_one_of_the_rows_that_differ(raw, items):
    reused = [BASE | {"event_id": "1", "event_time": f"2026-06-{day} 10:00:00"} for day in (28, 29, 30)]
    rows = [*reused, BASE | {"event_id": "2"}, BASE | {"event_id": "2", "received_at": "2026-06-30 12:00:00"}]
    found = classify(raw, items, rows).rows.collect()
    assert sorted(row.status for row in found) == ["duplicate", "used", "used", "used", "used"]
    notes = [[tuple(note) for note in row[NOTES] or ()] for row in found]
    assert sorted(notes) == [[], [], [], [("reused", "event_id", "1")], [("reused", "event_id", "1")]]


def test_with_a_key_no_id_of_a_row_leads_to_the_user_and_copies_are_copies_all_the_same(raw, items):
    one = BASE | {"user_id": "alice", "session_id": "alice-1", "event_id": "alice#1"}
    unread = [("unread", "user_id", "alice" * 12), ("unread", "event_id", "alice" * 12), ("unread", "rating", "high")]
    rows = [one, one | {"received_at": "2026-06-30 12:00:00"}, one | {"event_id": None, NOTES: unread}]
    prepare = PREPARE.model_copy(update={"pseudonymize_with": "KEY"})
    made = normalize_events(prepare, b"a secret of some length")(raw("events", rows)).persist()
    assert "alice" not in repr(made.collect())
    assert [tuple(note) for note in made.where("event_id IS NULL").first()[NOTES]] == [
        ("unread", "user_id", "…(60)"),
        ("unread", "event_id", "…(60)"),
        ("unread", "rating", "high"),
    ]
    found = classify_events(made, items, DS, prepare, lambda kept, _: kept.persist()).rows.collect()
    assert sorted(row.status for row in found) == ["duplicate", "used", "used"]
    assert len({row.session_id for row in found}) == 1


def test_a_pause_begins_a_session_and_given_ids_stay(frame):
    types = Inputs.TYPES["events"] | {"event_key": "string"}
    # user, minute, session_id as logged
    log = [
        *(("A", minute, None) for minute in (0, 30, 61, 62, 93)),
        *(("A", minute, "given") for minute in (31, 45, 200)),
        *(("B", minute, None) for minute in (0, 29)),
    ]
    rows = [
        {
            "user_id": u,
            "event_time": str(datetime(2026, 6, 30) + timedelta(minutes=m)),
            "session_id": s,
            "event_key": f"{u}{m}{s}",
        }
        for u, m, s in log
    ]
    found = {row.event_key: row.session_id for row in cut_sessions(frame(types, rows), Prepare()).collect()}
    groups = {frozenset(key for key in found if found[key] == session) for session in set(found.values())}
    expected = [
        {"A0None", "A30None"},
        {"A61None", "A62None"},
        {"A93None"},
        {"A31given", "A45given", "A200given"},
        {"B0None", "B29None"},
    ]
    assert groups == {frozenset(group) for group in expected}
    # Rows that come later rename no session that began before them.
    again = {row.event_key: row.session_id for row in cut_sessions(frame(types, rows[:3]), Prepare()).collect()}
    assert again == {key: found[key] for key in again}


def test_accounts_that_are_no_shoppers_are_told_by_what_they_do(raw, items):
    def acts(user, number, seconds, event_type="view", **more):
        start = datetime(2026, 6, 29, 10)
        return [
            {"user_id": user, "item_id": "AB"[n % 2], "event_type": event_type, "event_id": f"{user}{event_type}{n}"}
            | {"event_time": str(start + timedelta(seconds=seconds * n))}
            | more
            for n in range(number)
        ]

    rows = [
        *acts("FAST", 18, 10),  # six a minute for three minutes
        *acts("BRIEF", 12, 10),  # six a minute for two minutes
        *acts("SLOW", 40, 20),  # three a minute
        *acts("LOOKING", 60, 1, event_type="impression"),
        *acts("DOZENS", 4, 3600, event_type="purchase", quantity=12.0),
        *acts("HOME", 4, 3600, event_type="purchase", quantity=2.0),
        *acts("ONCE", 3, 3600, event_type="purchase", quantity=100.0),
    ]
    rules = Accounts(busy_minute_acts=5, bot_busy_minutes=3, reseller_quantity=10.0, reseller_purchases=4)
    prepare = PREPARE.model_copy(update={"accounts": rules})
    made = classify(raw, items, rows, prepare)
    assert {(row.user_id, row.kind) for row in made.accounts.collect()} == {("FAST", "bot"), ("DOZENS", "reseller")}
    found = Counter((row.user_id, row.status) for row in made.rows.collect())
    expected = {"BRIEF": 12, "SLOW": 40, "LOOKING": 60, "DOZENS": 4, "HOME": 4, "ONCE": 3}
    assert found == {("FAST", "bot"): 18} | {(user, "used"): number for user, number in expected.items()}

    other = {"bots": "cap", "resellers": "exclude", "cap_events_per_day": 5}
    prepare = PREPARE.model_copy(update={"accounts": rules.model_copy(update=other)})
    found = Counter((row.user_id, row.status) for row in classify(raw, items, rows, prepare).rows.collect())
    assert (found["FAST", "used"], found["FAST", "over_cap"], found["DOZENS", "reseller"]) == (5, 13, 4)

    touching = rules.model_copy(update={"bot_busy_minutes": 1000, "bot_catalog_share": 0.9, "bot_min_items": 2})
    prepare = PREPARE.model_copy(update={"accounts": touching})
    flagged = {row.user_id for row in classify(raw, items, rows, prepare).accounts.where("kind = 'bot'").collect()}
    assert flagged == {"FAST", "BRIEF", "SLOW", "DOZENS", "HOME", "ONCE"}


def test_a_tolerance_of_half_a_minute_is_half_a_minute(raw):
    received = "2026-06-30 10:00:00"
    ahead = {"30": "2026-06-30 10:00:30", "31": "2026-06-30 10:00:31"}
    rows = [BASE | {"domain": name, "event_time": time, "received_at": received} for name, time in ahead.items()]
    frame = normalize_events(Prepare(clock_tolerance_minutes=0.5), None)(raw("events", rows))
    faults = {row.domain: row["fault"] for row in frame.collect()}
    assert faults == {"30": None, "31": "future_event"}
