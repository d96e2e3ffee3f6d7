"""What moved between two sides, as people read it in the terminal."""

from dataclasses import replace
from datetime import date
from io import StringIO
from typing import Any

from rich.console import Console

from recsys_batch.contracts.list_changes import (
    BOUGHT,
    CAUSES,
    OTHER_SCORES,
    KeyChange,
    KeyLists,
    ListChanges,
    MovedItem,
    Pair,
    Placed,
    Shift,
    SideFacts,
)
from recsys_batch.report.changes import print_changes, print_key_lists, print_sides

CHANGES = ListChanges(
    table="user_recommendations",
    only_before=10,
    only_now=25,
    both=KeyChange(1_000, 250, 100, 0.875),
    rows=Pair(20_200, 20_500),
    longest=20,
    models=Pair("m1", "m1"),
    left=dict.fromkeys(CAUSES, 0) | {BOUGHT: 30, OTHER_SCORES: 90},
    entered=120,
    coverage=Pair(0.5, 0.625),
    top_share=Pair(0.25, 0.2),
    gini=Pair(0.75, 0.7),
    shifts={
        "source": (Shift("content", Pair(0.5, 0.6)),),
        "reason": (),
        "category": (Shift("Tea [new]", Pair(0, 0.1)),),
    },
    gained=(MovedItem("A", "x" * 60, Pair(0, 12), Pair(0.0, 0.01)),),
    lost=(),
    segments={"0": KeyChange(0, 0, 0, float("nan")), "1 to 2": KeyChange(8, 2, 0, 0.5)},
)


def printed(show: Any, *args: Any) -> list[list[str]]:
    """Return the cells of every printed line, and lines outside of tables as one cell."""
    console = Console(file=StringIO(), width=140)
    show(console, *args)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [[cell.strip() for cell in line.replace("┃", "│").strip("│").split("│")] for line in lines]


def test_figures_stand_beside_each_other() -> None:
    rows = printed(print_changes, CHANGES)
    for row in (
        ["lists", "1,010", "1,025", "+15"],
        ["lists on one side only", "10", "25", ""],
        ["rows", "20,200", "20,500", "+300"],
        ["model version", "m1", "m1", ""],
        ["common items of 1,000 lists, first 20", "", "87.5%", ""],
        ["lists unchanged", "", "250", "25.0%"],
        ["lists with the same items in another order", "", "100", "10.0%"],
        ["items shown, of those that may be", "50.0%", "62.5%", "+12.5"],
        ["share of the 100 most shown items", "25.0%", "20.0%", "-5.0"],
        ["Gini index of exposure", "0.750", "0.700", "-0.050"],
        ["bought since", "30", "25.0%"],
        ["other scores or rules", "90", "75.0%"],
        ["0", "0", "-", "-"],
        ["1 to 2", "8", "25.0%", "50.0%"],
        ["proposed by: content", "50.0%", "60.0%", "+10.0"],
        ["category: Tea [new]", "0.0%", "10.0%", "+10.0"],
        ["A", "x" * 43 + "…", "0", "12", "0.00%", "1.00%", "+1.00"],
    ):
        assert row in rows
    # A title wraps at the width of its table.
    assert "why 120 items left lists, and 120 came in" in " ".join(cell for row in rows for cell in row)
    assert len(rows) < 60


def test_what_has_no_rows_is_not_printed() -> None:
    nothing = replace(CHANGES, left=dict.fromkeys(CAUSES, 0), segments={}, shifts={}, gained=())
    rows = printed(print_changes, nothing)
    assert [row[0] for row in rows if row[0].startswith("user_recommendations")] == ["user_recommendations: figures"]
    assert ["model version", "m1", "m2", "other"] in printed(print_changes, replace(nothing, models=Pair("m1", "m2")))


def test_a_list_is_in_the_order_of_now_and_what_left_stands_last() -> None:
    items = (Placed("A", "a", 1, None), Placed("B", "b", 2, 1), Placed("C", "c", None, 2), Placed("D", "d", 3, 3))
    rows = printed(print_key_lists, "user_recommendations", KeyLists("u[1]", items))
    assert rows[0] == ["user_recommendations for u[1]"]
    assert [row for row in rows if len(row) == 5][1:] == [
        ["1", "2", "up 1", "B", "b"],
        ["2", "", "new", "C", "c"],
        ["3", "3", "", "D", "d"],
        ["", "1", "gone", "A", "a"],
    ]


def test_the_sides_are_named() -> None:
    first = SideFacts(date(2026, 6, 29), "r1", "released", "r1")
    second = SideFacts(date(2026, 6, 30), "r2", "staged", "r0")
    assert printed(print_sides, first, second) == [
        ["before: 2026-06-29, run r1, released"],
        ["now: 2026-06-30, run r2, staged, on what run r0 prepared"],
    ]
