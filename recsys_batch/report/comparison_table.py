"""Two runs side by side, a row a metric."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from recsys_batch.rules.metrics.paired_tests import RunComparison


def print_comparisons(title: str, compared: Iterable[RunComparison], baseline: str, console: Console) -> None:
    """Print the means, the difference with its interval, and whether it may be chance."""
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    for name in ("users", "lists", baseline, "difference", "95% interval", "p"):
        table.add_column(name, justify="right")
    for each in compared:
        gap = each.difference
        style = None if not gap.excludes_zero else "green" if gap.mean > 0 else "red"
        table.add_row(
            each.metric,
            f"{each.num_keys:,}",
            f"{each.ours:.4f}",
            f"{each.baseline:.4f}",
            f"{gap.mean:+.4f}",
            f"{gap.low:+.4f} to {gap.high:+.4f}",
            f"{each.p_value:.3f}",
            style=style,
        )
    console.print(table)
