"""Two runs side by side, or the arms of an experiment, a row a metric."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys_batch.rules.metrics.paired_tests import Interval, RunComparison
from recsys_batch.rules.metrics.unpaired_tests import GroupComparison


def print_comparisons(title: str, compared: Iterable[RunComparison], baseline: str, console: Console) -> None:
    """Print the means, the difference with its interval, and whether it may be chance."""
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    for name in ("users", "lists", baseline, "difference", "95% interval", "p"):
        table.add_column(name, justify="right")
    for each in compared:
        gap = each.difference
        table.add_row(
            each.metric,
            f"{each.num_keys:,}",
            f"{each.ours:.4f}",
            f"{each.baseline:.4f}",
            f"{gap.mean:+.4f}",
            f"{gap.low:+.4f} to {gap.high:+.4f}",
            f"{each.p_value:.3f}",
            style=_style(gap),
        )
    console.print(table)


def print_arms(compared: Iterable[GroupComparison], console: Console) -> None:
    """Print each arm beside the control: users and means of both, the difference with its interval and p-value."""
    table = Table(title="arms of the experiment, each against the control", title_justify="left")
    for column in ("metric", "arm", "against"):
        table.add_column(column)
    for name in ("users", "of control", "mean", "of control", "difference", "95% interval", "p"):
        table.add_column(name, justify="right")
    for each in compared:
        gap = each.difference
        table.add_row(
            *(each.metric, escape(each.group), escape(each.baseline)),
            *(f"{each.ours.size:,}", f"{each.theirs.size:,}", f"{each.ours.mean:.4f}", f"{each.theirs.mean:.4f}"),
            *(f"{gap.mean:+.4f}", f"{gap.low:+.4f} to {gap.high:+.4f}", f"{each.p_value:.3f}"),
            style=_style(gap),
        )
    console.print(table)


def _style(gap: Interval) -> str | None:
    return None if not gap.excludes_zero else "green" if gap.mean > 0 else "red"
