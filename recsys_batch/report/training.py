"""What a person reads when a model was trained: each task before and after, the version, and who is champion."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys_batch.contracts.model_version import ModelVersion


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


def print_pretraining(console: Console, version: ModelVersion) -> None:
    """Print a pre-trained version: each objective on the held-out texts, and how training starts from it."""
    metrics, data, before = version.metrics, version.data, "before/"
    measured = {name: value for name, value in metrics.items() if f"{before}{name}" in metrics}
    started = {name: metrics[f"{before}{name}"] for name in measured}
    objectives = dict.fromkeys(version.settings["pretrain"]["objectives"], int(data["train"]))
    name = f"{version.name}@{version.version}"
    notes = {
        "version": name,
        "parents": ", ".join(version.parents) or "none: from scratch",
        "corpus": f"{data['train']:,} texts, {data['held_out']:,} held out, {data['vocab_size']:,} word pieces",
        "encoder": f"{metrics['num_parameters']:,.0f} parameters",
        "training": f"{metrics['train_steps']:,.0f} steps, {metrics['train_seconds']:,.0f} s",
        "to train it further": f"--set training.start=registry:{name}",
    }
    print_training(console, f"{version.name}: held-out texts", objectives, started, measured, notes)


def _show(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
