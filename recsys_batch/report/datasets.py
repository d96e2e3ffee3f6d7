"""What a person reads when training data was made: parts, hashes, dropped rows, leak checks and the position curve."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys_batch.contracts.datasets import DatasetManifest


def print_datasets(console: Console, manifests: Sequence[DatasetManifest]) -> None:
    """Print one table a dataset, its leak checks, and the position curve they share."""
    for manifest in manifests:
        console.print(_parts(manifest))
        for table, reasons in manifest.dropped.items():
            if reasons:
                listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
                console.print(f"{table}: dropped {listed}")
        failed = [check for check in manifest.checks if check.verdict != "pass"]
        console.print(f"{len(manifest.checks) - len(failed)} of {len(manifest.checks)} checks passed")
        for check in failed:
            console.print(escape(check.describe()))
    curve = manifests[0].position_curve if manifests else None
    if curve:
        console.print(_curve(curve))


def _parts(manifest: DatasetManifest) -> Table:
    table = Table(title=f"Dataset {escape(manifest.name)} ({manifest.kind}) of {manifest.ds}, seed {manifest.seed}")
    for column in ("table", "part"):
        table.add_column(column)
    for column in ("rows", "users", "items"):
        table.add_column(column, justify="right")
    table.add_column("content hash", justify="right", overflow="fold")
    for name, parts in manifest.tables.items():
        for part, held in parts.items():
            table.add_row(name, part, f"{held.rows:,}", f"{held.users:,}", f"{held.items:,}", held.content_hash)
    return table


def _curve(curve: Mapping[str, Any]) -> Table:
    table = Table(title="Examination by position, relative to the first")
    for column in ("position", "examined", "click rate", "impressions", "clicks compared"):
        table.add_column(column, justify="right")
    columns = ("positions", "examination", "click_rate", "num_impressions", "num_compared_clicks")
    for position, examined, rate, shown, compared in zip(*(curve[name] for name in columns), strict=True):
        table.add_row(str(position), f"{examined:.3f}", f"{rate:.3f}", f"{shown:,}", f"{compared:,.0f}")
    return table
