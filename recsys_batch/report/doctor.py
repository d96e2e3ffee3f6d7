"""The table of `doctor`."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys_batch.contracts.doctor_findings import Finding

_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red"}


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print a row a finding, the faults last, where they are seen, and a line that counts them."""
    table = Table(title="doctor")
    table.add_column("verdict")
    table.add_column("setting", overflow="fold")
    table.add_column("found", overflow="fold")
    table.add_column("what to set", overflow="fold")
    for finding in sorted(findings, key=lambda f: list(_STYLES).index(f.verdict)):
        verdict = f"[{_STYLES[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(verdict, escape(finding.setting), escape(finding.value), escape(finding.advice))
    console.print(table)
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in _STYLES}
    console.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
