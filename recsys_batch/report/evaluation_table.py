"""What an evaluation found, as tables that fit a screen."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from recsys_batch.rules.metrics.paired_tests import Interval


def print_runs(
    title: str, rows: Iterable[tuple[str, dict[str, Interval], dict[str, Interval], dict[str, float]]], console: Console
) -> None:
    """Print a row a run: its metrics, the gap to the first run, and what the lists cover."""
    rows = list(rows)
    names = list(rows[0][1])
    table = Table(title=title, title_justify="left")
    table.add_column("lists")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column(f"ahead by ({names[1]})", justify="right")
    for share in rows[0][3]:
        table.add_column(share.replace("_", " "), justify="right")
    for run, values, against, shares in rows:
        gap = against.get(names[1])
        style = "bold" if gap is None else None
        if gap is not None and gap.excludes_zero:
            style = "green" if gap.mean > 0 else "red"
        table.add_row(
            run,
            *(f"{v.mean:.4f} ({v.low:.4f} to {v.high:.4f})" for v in values.values()),
            "" if gap is None else f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})",
            *(f"{share:.1%}" for share in shares.values()),
            style=style,
        )
    console.print(table)


def print_bins(title: str, rows: Sequence[tuple[str, str, int, dict[str, float]]], console: Console) -> None:
    """Print a row a bin with the value of each run."""
    table = Table(title=title, title_justify="left")
    table.add_column("by")
    table.add_column("bin")
    table.add_column("number", justify="right")
    for run in rows[0][3]:
        table.add_column(run, justify="right")
    before = ""
    for kind, name, size, values in rows:
        if before and kind != before:
            table.add_section()
        best = max(values.values())
        cells = (f"[bold]{v:.4f}[/bold]" if v == best and v > 0 else f"{v:.4f}" for v in values.values())
        table.add_row(kind if kind != before else "", name, f"{size:,}", *cells)
        before = kind
    console.print(table)
