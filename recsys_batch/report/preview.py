"""What a dry run shows of the sources: their first rows before and after the expressions, and what is missing."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys_batch.contracts.data_profile import SourcePreview

_MAX_COLUMNS = 12


def print_previews(previews: Iterable[SourcePreview], ds: str, timezone: str, console: Console) -> None:
    """Print a screen a source."""
    for preview in previews:
        day = f", {preview.on_ds:,} of them on {ds} ({timezone})" if preview.on_ds is not None else ""
        title = f"{preview.where}: the first {preview.rows:,} rows of {preview.path}{day}"
        console.print(title, markup=False, highlight=False)
        console.print(_rows("as the file has it", preview.before))
        console.print(_columns(preview))


def _rows(title: str, rows: Sequence[Mapping[str, str]]) -> Table:
    names = list(rows[0]) if rows else []
    table = Table(title=title, title_justify="left")
    for name in names[:_MAX_COLUMNS]:
        table.add_column(escape(name))
    for row in rows:
        table.add_row(*(escape(row[name]) for name in names[:_MAX_COLUMNS]))
    if len(names) > _MAX_COLUMNS:
        table.caption = f"and {len(names) - _MAX_COLUMNS} more columns"
    return table


def _columns(preview: SourcePreview) -> Table:
    table = Table(title="as it is read", title_justify="left")
    for name in ("column", *(f"row {number}" for number, _ in enumerate(preview.after, 1))):
        table.add_column(name)
    for name in ("without a value", "not readable"):
        table.add_column(name, justify="right")
    for column, share in preview.null_share.items():
        unread = preview.unread.get(column, 0)
        style = "bold red" if unread else None
        shown = (escape(row[column]) for row in preview.after)
        table.add_row(column, *shown, f"{share:.1%}", f"{unread:,}" if unread else "", style=style)
    return table
