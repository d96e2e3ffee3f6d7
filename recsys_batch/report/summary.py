"""The one table at the end of a run, and the same facts as JSON for a scheduler."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys_batch.contracts.gates import Check
from recsys_batch.report.progress import open_console


@dataclass
class RunSummary:
    """What a run did, filled in stage by stage."""

    name: str
    ds: str
    run_id: str = ""
    state: str = "running"
    message: str = ""
    stages: dict[str, float] = field(default_factory=dict)
    """Stage that the run went through -> seconds."""
    reused: dict[str, str] = field(default_factory=dict)
    """Stage that was not run again -> the run that left it."""
    counts: dict[str, float] = field(default_factory=dict)
    """`<stage>.<what>` -> number, in the order in which it was counted."""
    previous: dict[str, float] = field(default_factory=dict)
    """The counts of the newest published night before, where they were read."""
    report: str = ""
    """The page to look at."""
    checks: list[Check] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    """List tables of the night."""
    release_id: str = ""
    tables: dict[str, int] = field(default_factory=dict)
    """Published table -> Delta version."""

    def count(self, stage: str, **numbers: float) -> None:
        """Record numbers of a stage."""
        self.counts.update({f"{stage}.{name}": number for name, number in numbers.items()})

    def write(self, path: str) -> None:
        """Write the status JSON; parent folders are made."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def reporting(
    summary: RunSummary, status_file: str, lines: Callable[[RunSummary], list[str]] | None = None
) -> Iterator[RunSummary]:
    """Print the run's summary when the block ends, however it ends, and write it to the status file if one is named.

    The file says `running` from the start. `lines` says in words what is otherwise printed as a table of all counts.
    """
    if status_file:
        summary.write(status_file)
    try:
        yield summary
    except BaseException as error:
        summary.state, summary.message = "failed", f"{type(error).__name__}: {error}"
        raise
    finally:
        print_summary(summary, open_console(), lines)
        if status_file:
            summary.write(status_file)


def print_summary(
    summary: RunSummary, console: Console, lines: Callable[[RunSummary], list[str]] | None = None
) -> None:
    """Print the run in `lines`, or as one table: counts by stage, seconds, gate verdicts; none where there are none."""
    if lines is not None and (summary.counts or summary.stages):
        for line in lines(summary):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    elif summary.counts or summary.stages or summary.checks:
        _print_table(summary, console)
    elif summary.state != "failed":
        console.print(f"{summary.name} {summary.ds}: {summary.state}", markup=False, highlight=False)
    if summary.message and summary.state != "failed":  # a failure is the job's last line
        console.print(summary.message, markup=False, highlight=False)


def _print_table(summary: RunSummary, console: Console) -> None:
    table = Table(title=f"{summary.name} {summary.ds}: {summary.state}", show_lines=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, number in summary.counts.items():
        table.add_row(name.replace("_", " "), _written(number))
    table.add_section()
    for stage, run_id in summary.reused.items():
        table.add_row(f"{stage} (of run)", run_id)
    for stage, seconds in summary.stages.items():
        table.add_row(f"{stage} (seconds)", f"{seconds:,.1f}")
    if summary.checks:
        table.add_section()
        for check in worst_first(summary.checks):
            # Names such as null_share_rise[user_id] look like markup.
            name = escape(check.check.replace("_", " "))
            table.add_row(f"{check.table}: {name} {check.value:g} ({check.threshold:g})", check.verdict)
        passed = sum(check.verdict == "pass" for check in summary.checks)
        table.add_row("gates passed", f"{passed} of {len(summary.checks)}")
    console.print(table)


def _written(number: float) -> str:
    if float(number).is_integer():
        return f"{number:,.0f}"
    # Of a small figure, such as a loss of precision, the size is what matters.
    return f"{number:,.3f}" if abs(number) >= 0.001 else f"{number:.1e}"


def worst_first(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that did not pass; those that did are only counted."""
    return sorted((c for c in checks if c.verdict != "pass"), key=lambda c: (c.verdict, c.table, c.check))
