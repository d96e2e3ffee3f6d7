"""The closing lines of a night: what they say, and that they fit a screen."""

import io

from rich.console import Console

from recsys_batch.contracts.columns import Lists
from recsys_batch.contracts.gates import Check
from recsys_batch.report.night_lines import night_lines
from recsys_batch.report.summary import RunSummary, print_summary

USERS = "user_recommendations"


def make_night() -> RunSummary:
    summary = RunSummary("demo", "2026-06-30", run_id="20260630-01234567-abcdef", state="published")
    summary.stages |= {"prepare": 27.4, "encode": 4.1, "publish": 9.0}
    summary.reused["retrieve"] = "20260630-76543210-abcdef"
    summary.count("prepare", events_read=3766, events_used=1712, events_filtered=0)
    summary.count("prepare", events_quarantined_bot=2000, events_quarantined_duplicate=40)
    summary.count("prepare", events_quarantined_clock_error=8, events_quarantined_missing_user_id=6)
    summary.count("prepare", items_read=201, items_used=201, items=200, items_eligible=180)
    summary.count("prepare", users=60, users_without_history=2)
    summary.count("encode", document_encoded=3, document_cache_hits=197, query_encoded=1, query_cache_hits=11)
    summary.count("retrieve", user_recommendations_profiles=58)
    summary.count("rerank", user_recommendations_rows=1160, user_recommendations_rows_boosted=35)
    summary.count("rerank", user_recommendations_rows_over_category_cap=2)
    summary.count("publish", outcome_keys=41, outcome_ndcg=0.3471, agreement=0.874)
    summary.previous = {"prepare.items": 198.0, "prepare.users": 50.0, "publish.outcome_ndcg": 0.31}
    summary.lists, summary.tables = [USERS], {USERS: 3}
    summary.checks.append(Check("events", "unmatched_share[item_id]", 0.0432099, 0.01, "warn"))
    summary.checks.append(Check(USERS, "lists", 58, 1, "pass"))
    summary.report = "file:///lake/profiles/2026-06-30.html"
    return summary


def test_the_lines_of_a_night() -> None:
    assert night_lines(make_night()) == [
        "demo 2026-06-30: published",
        "  inputs   events: 3,766 read, 1,712 used, 2,054 refused (bot 2,000, duplicate",
        "           40, clock_error 8, 1 other reason)",
        "           items: 201 read, 201 used",
        "  catalog  200 (+1%) items, 180 of them may be recommended",
        "  users    60 (+20%) known, 2 of them without a history",
        "  encoding 4 texts encoded, 208 known from earlier nights",
        "  lists    user_recommendations: 1,160 rows for 58 keys, version 3",
        "  rules    2 rows over a cap, 35 rows boosted",
        "  quality  earlier lists: NDCG 0.347 for 41 users (the night before 0.310); 87%",
        "           of the items stood in the lists before",
        "  seconds  40: prepare 27, encode 4, publish 9; prepare took most",
        "  reused   retrieve of 20260630-76543210-abcdef",
        "  gates    1 of 2 passed",
        "  warn     events: unmatched_share[item_id] is 0.04321, threshold 0.01",
        "  look at  file:///lake/profiles/2026-06-30.html",
    ]


def test_a_night_of_everything_fits_a_screen() -> None:
    summary = make_night()
    for table in ("items", "reviews", "requests", "exclusions"):
        summary.count("prepare", **{f"{table}_read": 10**9, f"{table}_used": 10**9 - 4})
        summary.count("prepare", **{f"{table}_quarantined_reason_number_{n}": 10**6 for n in range(4)})
    summary.lists = list(Lists.KEY)
    for table in summary.lists:
        summary.count("retrieve", **{f"{table}_profiles": 10**7})
        summary.count("rerank", **{f"{table}_rows": 2 * 10**8})
        summary.tables[table] = 1234
    summary.checks += [Check("items", f"null_share_rise[column_{n}]", 0.123456789, 0.1, "warn") for n in range(30)]
    lines = night_lines(summary)
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert any("25 more in quality_metrics" in line for line in lines)


def test_what_blocks_stands_first() -> None:
    summary = make_night()
    summary.checks.append(Check("similar_items", "full_list_share", 0.2, 0.995, "block"))
    verdicts = [line.split()[0] for line in night_lines(summary)]
    assert verdicts.index("block") == verdicts.index("warn") - 1


def test_names_in_brackets_are_printed_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=60)
    print_summary(make_night(), console, night_lines)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert printed.splitlines() == night_lines(make_night())


def test_a_night_that_failed_at_once_has_no_lines_but_its_error() -> None:
    console = Console(file=io.StringIO(), width=80)
    summary = RunSummary("demo", "2026-06-30", state="failed", message="ConfigError: ...")
    print_summary(summary, console, night_lines)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
