"""Two sides of the list tables in the terminal: what moved, for whom, why; and lists next to each other."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys_batch.contracts.list_changes import (
    BOUGHT,
    NEW_ITEMS,
    NOT_ELIGIBLE,
    OTHER_MODEL,
    OTHER_SCORES,
    OWN_HISTORY,
    KeyChange,
    KeyLists,
    ListChanges,
    MovedItem,
    Pair,
    Placed,
    SideFacts,
)

_TITLE_WIDTH = 44
_GROUPS = {"source": "proposed by", "reason": "reason", "category": "category"}
_CAUSES = {
    NOT_ELIGIBLE: "may no longer be recommended",
    BOUGHT: "bought since",
    NEW_ITEMS: "made room for items that may be recommended now",
    OTHER_MODEL: "another model version",
    OWN_HISTORY: "the user's history changed",
    OTHER_SCORES: "other scores or rules",
}
_STYLES = {"new": "green", "gone": "red"}


def print_sides(console: Console, baseline: SideFacts, candidate: SideFacts) -> None:
    """Print which rows are compared."""
    for name, side in (("before", baseline), ("now", candidate)):
        prepared = "" if side.prepared_run == side.run_id else f", on what run {side.prepared_run} prepared"
        line = f"{name:>6}: {side.ds}, run {side.run_id}, {side.state}{prepared}"
        console.print(line, markup=False, highlight=False)


def print_changes(console: Console, changes: ListChanges) -> None:
    """Print the figures of one list table, each table within a screen."""
    console.print(_figures(changes))
    if any(changes.left.values()):
        console.print(_causes(changes))
    if changes.segments:
        console.print(_segments(changes.segments))
    if any(changes.shifts.values()):
        console.print(_shifts(changes))
    if changes.gained or changes.lost:
        console.print(_moved(changes))


def print_key_lists(console: Console, table: str, lists: KeyLists) -> None:
    """Print the lists of a key next to each other; items that left stand at the end."""
    printed = Table(title=escape(f"{table} for {lists.key}"), title_justify="left")
    printed.add_column("now", justify="right")
    printed.add_column("before", justify="right")
    for column in ("", "item", "title"):
        printed.add_column(column, overflow="fold")
    for item in sorted(lists.items, key=_in_order):
        ranks = ("" if rank is None else str(rank) for rank in (item.now, item.before))
        style = _STYLES.get(item.mark)
        printed.add_row(*ranks, item.mark, escape(item.item_id), _title(item.title), style=style)
    console.print(printed)


def _in_order(item: Placed) -> tuple[bool, int]:
    return (item.now is None, (item.now if item.now is not None else item.before) or 0)


def _figures(changes: ListChanges) -> Table:
    both, models = changes.both, changes.models
    same_model = models.before == models.now
    table = _table(f"{changes.table}: figures", "", "before", "now", "change")
    lists = Pair(both.keys + changes.only_before, both.keys + changes.only_now)
    table.add_row("lists", *_counts(lists))
    table.add_row("lists on one side only", f"{changes.only_before:,}", f"{changes.only_now:,}", "")
    table.add_row("rows", *_counts(changes.rows))
    table.add_row("model version", escape(models.before), escape(models.now), "" if same_model else "other")
    table.add_section()
    table.add_row(f"common items of {both.keys:,} lists, first {changes.longest}", "", _share(both.common_share), "")
    table.add_row("lists unchanged", "", *_of(both.unchanged, both.keys))
    table.add_row("lists with the same items in another order", "", *_of(both.reordered, both.keys))
    table.add_section()
    table.add_row("items shown, of those that may be", *_shares(changes.coverage))
    table.add_row("share of the 100 most shown items", *_shares(changes.top_share))
    gini = changes.gini
    table.add_row("Gini index of exposure", f"{gini.before:.3f}", f"{gini.now:.3f}", f"{gini.now - gini.before:+.3f}")
    return table


def _causes(changes: ListChanges) -> Table:
    total = sum(changes.left.values())
    title = f"{changes.table}: why {total:,} items left lists, and {changes.entered:,} came in"
    table = _table(title, "cause", "items", "share")
    for cause, number in changes.left.items():
        if number:
            table.add_row(_CAUSES[cause], *_of(number, total))
    return table


def _segments(segments: dict[str, KeyChange]) -> Table:
    table = _table("who changed: by items in the user's history", "items", "users", "lists unchanged", "common items")
    for name, change in segments.items():
        unchanged = _share(change.unchanged / change.keys if change.keys else float("nan"))
        table.add_row(name, f"{change.keys:,}", unchanged, _share(change.common_share))
    return table


def _shifts(changes: ListChanges) -> Table:
    table = _table(f"{changes.table}: share of the rows", "", "before", "now", "change")
    for of, shifts in changes.shifts.items():
        for shift in shifts:
            table.add_row(f"{_GROUPS[of]}: {escape(shift.group)}", *_shares(shift.share))
        table.add_section()
    return table


def _moved(changes: ListChanges) -> Table:
    table = Table(title=f"{changes.table}: items that gained and lost most exposure", title_justify="left")
    for column in ("item", "title"):
        table.add_column(column, overflow="fold")
    for column in ("lists before", "now", "exposure before", "now", "change"):
        table.add_column(column, justify="right")
    for items, style in ((changes.gained, "green"), (changes.lost, "red")):
        _add_moved(table, items, style)
        table.add_section()
    return table


def _add_moved(table: Table, items: Sequence[MovedItem], style: str) -> None:
    for item in items:
        lists = (f"{item.lists.before:,}", f"{item.lists.now:,}")
        table.add_row(escape(item.item_id), _title(item.title), *lists, *_shares(item.exposure, 2), style=style)


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _title(title: str) -> str:
    return escape(title if len(title) <= _TITLE_WIDTH else f"{title[: _TITLE_WIDTH - 1]}…")


def _counts(pair: Pair[int]) -> tuple[str, str, str]:
    return f"{pair.before:,}", f"{pair.now:,}", f"{pair.now - pair.before:+,}"


def _shares(pair: Pair[float], decimals: int = 1) -> tuple[str, str, str]:
    change = 100 * (pair.now - pair.before)
    return _share(pair.before, decimals), _share(pair.now, decimals), f"{change:+.{decimals}f}"


def _of(number: int, total: int) -> tuple[str, str]:
    return f"{number:,}", _share(number / total if total else float("nan"))


def _share(share: float, decimals: int = 1) -> str:
    return "-" if math.isnan(share) else f"{share:.{decimals}%}"
