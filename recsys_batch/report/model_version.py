"""What a person reads when a model version was registered: what it is, what it was made from, how good it is."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys_batch.contracts.model_version import ModelVersion


def print_model_version(console: Console, version: ModelVersion) -> None:
    """Print the version's name, parents and metrics; a metric's variants `[...]` stand in columns of their own."""
    names = {metric: metric.partition("[")[0] for metric in version.metrics}
    variants = list(dict.fromkeys(metric.removeprefix(name) for metric, name in names.items()))
    table = Table(title=escape(f"{version.name}/{version.version} ({version.kind})"))
    table.add_column("metric")
    for variant in variants:
        table.add_column(escape(variant.strip("[]")) or "whole", justify="right")
    for name in dict.fromkeys(names.values()):
        values = [version.metrics.get(name + variant) for variant in variants]
        table.add_row(escape(name), *("" if value is None else f"{value:,.4g}" for value in values))
    console.print(table)
    console.print(escape(f"parents: {', '.join(version.parents) or 'none'}; seed {version.seed}"))
