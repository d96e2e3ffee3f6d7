"""The summary of a run: as JSON for a scheduler, as a table for a person."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from recsys_batch.contracts.gates import Check
from recsys_batch.report.summary import RunSummary, print_summary, reporting


def make_summary() -> RunSummary:
    summary = RunSummary(
        name="shop", ds="2026-02-03", run_id="20260203-01234567-abcdef", state="published", message="第一晚 [ok]"
    )
    summary.stages["prepare"] = 1.25
    summary.count("prepare", events_read=12345, used_share=0.5)
    summary.count("encode", texts=7)
    summary.checks.append(Check("similar_items", "full_share", 0.25, 0.995, "block"))
    summary.checks.append(Check("similar_items", "fallback_share", 0.75, 0.5, "warn"))
    summary.checks.append(Check("user_recommendations", "duplicate_rows", 0.0, 0.0, "pass"))
    summary.release_id = "r1"
    summary.tables["similar_items"] = 3
    return summary


def test_the_status_file_holds_everything(tmp_path: Path) -> None:
    target = tmp_path / "状态" / "status.json"
    make_summary().write(str(target))
    text = target.read_text(encoding="utf-8")
    assert "第一晚" in text
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "name": "shop",
        "ds": "2026-02-03",
        "run_id": "20260203-01234567-abcdef",
        "state": "published",
        "message": "第一晚 [ok]",
        "stages": {"prepare": 1.25},
        "reused": {},
        "previous": {},
        "report": "",
        "lists": [],
        "counts": {"prepare.events_read": 12345, "prepare.used_share": 0.5, "encode.texts": 7},
        "checks": [
            {"table": "similar_items", "check": "full_share", "value": 0.25, "threshold": 0.995, "verdict": "block"},
            {"table": "similar_items", "check": "fallback_share", "value": 0.75, "threshold": 0.5, "verdict": "warn"},
            {
                "table": "user_recommendations",
                "check": "duplicate_rows",
                "value": 0.0,
                "threshold": 0.0,
                "verdict": "pass",
            },
        ],
        "release_id": "r1",
        "tables": {"similar_items": 3},
    }


def test_checks_come_back_from_the_status_file(tmp_path: Path) -> None:
    summary = make_summary()
    summary.write(str(tmp_path / "s.json"))
    loaded = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    checks = [Check(**check) for check in loaded.pop("checks")]
    assert RunSummary(**loaded, checks=checks) == summary


def test_a_later_status_replaces_the_earlier_one(tmp_path: Path) -> None:
    make_summary().write(str(tmp_path / "s.json"))
    RunSummary("shop", "2026-02-04").write(str(tmp_path / "s.json"))
    loaded = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert (loaded["ds"], loaded["state"], loaded["checks"]) == ("2026-02-04", "running", [])


def test_counts_keep_their_order_and_their_last_value() -> None:
    summary = RunSummary("shop", "2026-02-03")
    summary.count("b", rows=1, users=2)
    summary.count("a", rows=3)
    summary.count("b", rows=4)
    assert list(summary.counts.items()) == [("b.rows", 4), ("b.users", 2), ("a.rows", 3)]


def test_small_figures_keep_their_size_in_the_table() -> None:
    summary = RunSummary("shop", "2026-02-03")
    summary.count("encode", max_cosine_loss=3.4e-8, padded_share=0.25, refused=0)
    console = Console(file=io.StringIO(), width=120)
    print_summary(summary, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for figure in ("3.4e-08", "0.250", " 0 "):
        assert figure in text


def test_the_table_shows_counts_seconds_and_every_check_that_did_not_pass() -> None:
    console = Console(file=io.StringIO(), width=120)
    print_summary(make_summary(), console)
    lines = [" ".join(line.replace("│", " ").split()) for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines[0] == "shop 2026-02-03: published"
    assert "prepare.events read 12,345" in lines
    assert "prepare.used share 0.500" in lines
    assert "prepare (seconds) 1.2" in lines
    assert "similar_items: full share 0.25 (0.995) block" in lines
    assert "similar_items: fallback share 0.75 (0.5) warn" in lines
    assert "gates passed 1 of 3" in lines
    assert not any("duplicate" in line for line in lines)
    assert "第一晚 [ok]" in lines


def test_the_column_in_the_name_of_a_check_is_shown() -> None:
    summary = RunSummary("shop", "2026-02-03")
    for column in ("user_id", "query"):
        summary.checks.append(Check("events", f"null_share_rise[{column}]", 0.5, 0.25, "block"))
    console = Console(file=io.StringIO(), width=120)
    print_summary(summary, console)
    for column in ("user id", "query"):
        assert f"null share rise[{column}]" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_status_file_tells_this_runs_story_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text('{"state": "published", "ds": "2026-06-29"}')

    def fail() -> None:
        with reporting(RunSummary("shop", "2026-06-30"), str(path)):
            assert json.loads(path.read_text())["state"] == "running"
            raise ValueError("no such key")

    with pytest.raises(ValueError, match="no such key"):
        fail()
    status = json.loads(path.read_text())
    assert (status["state"], status["ds"], status["message"]) == ("failed", "2026-06-30", "ValueError: no such key")
    with reporting(RunSummary("shop", "2026-06-30"), str(path)) as summary:
        summary.state = "published"
    assert json.loads(path.read_text())["state"] == "published"
