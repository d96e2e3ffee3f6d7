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


class QueryRow(Protocol):
    """How a query was read, as `show` prints it."""

    query: str
    searched: str
    language: str
    corrections: Sequence[tuple[str, str]]
    unknown: Sequence[str]
    brands: Sequence[str]
    models: Sequence[str]
    category: str | None
    category_share: float
    found_by: str
    num_items: int


_FOUND_BY = {
    "all_words": "items with all its words",
    "some_words": "items with some of its words",
    "characters": "items with single characters of it",
    "nothing": "no item by its words: likeness, category and popularity fill the list",
}


def print_query(console: Console, read: QueryRow) -> None:
    """Print how a query was read: what was corrected, what it names, and what its words found."""
    rows = {
        "searched for": read.searched,
        "corrected": ", ".join(f"{word} -> {becomes}" for word, becomes in read.corrections) or "nothing",
        "language": read.language,
        "unknown words": ", ".join(read.unknown),
        "brands": ", ".join(read.brands),
        "models and numbers": ", ".join(read.models),
        "category": f"{read.category} ({read.category_share:.0%} of what it finds best)" if read.category else "",
        "found": f"{_FOUND_BY.get(read.found_by, read.found_by)}; {read.num_items:,} with any",
    }
    table = Table(title=f"How the query {escape(read.query)} was read", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            table.add_row(name, escape(value))
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
