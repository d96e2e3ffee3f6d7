"""Tables in the terminal that a shopkeeper can read."""

from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_HISTORY_ROWS = 10


class HistoryRow(Protocol):
    """An interaction as `show` prints it."""

    time: str
    event_type: str
    item_id: str
    title: str


class ListRow(Protocol):
    """A recommendation as `show` prints it."""

    rank: int
    item_id: str
    title: str
    score: float
    sources: Sequence[str]
    reason: str


def print_history(console: Console, user_id: str, history: Sequence[HistoryRow], zone_note: str = "") -> None:
    """Print the newest interactions of a user; `zone_note` says where their times are those of the clock."""
    table = Table(
        title=f"History of {escape(user_id)}: the newest {min(_HISTORY_ROWS, len(history))} of {len(history)} items"
    )
    for column in (f"last seen{zone_note}", "event", "item", "title"):
        table.add_column(column, overflow="fold")
    for row in history[:_HISTORY_ROWS]:
        table.add_row(row.time, row.event_type, escape(row.item_id), escape(row.title))
    console.print(table)


def print_list(console: Console, heading: str, rows: Sequence[ListRow]) -> None:
    """Print a recommendation list with the reason of every row."""
    table = Table(title=escape(heading))
    table.add_column("rank", justify="right")
    table.add_column("item", overflow="fold")
    table.add_column("title", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("reason", overflow="fold")
    table.add_column("sources", overflow="fold")
    for row in rows:
        cells = (str(row.rank), escape(row.item_id), escape(row.title), f"{row.score:.4f}")
        table.add_row(*cells, escape(row.reason), ", ".join(row.sources))
    console.print(table)
