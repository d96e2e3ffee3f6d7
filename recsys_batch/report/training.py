"""What a person reads when a model was trained: each task before and after, the version, and who is champion."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_training(
    console: Console,
    title: str,
    examples: Mapping[str, int],
    before: Mapping[str, float],
    after: Mapping[str, float],
    notes: Mapping[str, str],
) -> None:
    """Print a row a task and metric (`task.metric`, on the test part), then `notes` line by line."""
    table = Table(title=escape(title))
    table.add_column("task")
    table.add_column("examples", justify="right")
    table.add_column("metric")
    for column in ("before", "after"):
        table.add_column(column, justify="right")
    for task, number in examples.items():
        metrics = [name for name in after if name.startswith(f"{task}.")]
        for place, name in enumerate(metrics or [f"{task}.not measured: no test examples"]):
            head = (escape(task), f"{number:,}") if place == 0 else ("", "")
            table.add_row(*head, escape(name.partition(".")[2]), _show(before.get(name)), _show(after.get(name)))
    console.print(table)
    for what, value in notes.items():
        console.print(f"{what}: {value}", markup=False, highlight=False, soft_wrap=True)


def _show(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
