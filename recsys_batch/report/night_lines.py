"""What an operator reads when a night ends: what came in, what went out, how good it was, what to look at."""

import textwrap
from collections.abc import Iterator

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.gates import Check
from recsys_batch.report.summary import RunSummary, worst_first

_WIDTH, _INDENT = 80, 11
_MOST_CHECKS, _MOST_REASONS = 6, 3
_QUARANTINED = "_quarantined_"
# Rows that a rule changed, as the lines say it.
_EFFECTS = {
    "rows_over_category_cap": "over a cap",
    "rows_boosted": "boosted",
    "rows_there_for_diversity": "there for diversity",
}


def night_lines(summary: RunSummary) -> list[str]:
    """Return the closing lines of a night, at most 80 columns wide; all counts are in the status file."""
    lines = [f"{summary.name} {summary.ds}: {summary.state}"]
    for label, text in _parts(summary):
        first = f"  {label:<{_INDENT - 2}}"
        blank = " " * _INDENT
        lines += textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=blank, break_on_hyphens=False)
    return lines


def _parts(summary: RunSummary) -> Iterator[tuple[str, str]]:
    counts = summary.counts
    for place, table in enumerate(name for name in Inputs.OF_NIGHT if f"prepare.{name}_read" in counts):
        yield "" if place else "inputs", _input(summary, table)
    if "prepare.items" in counts:
        eligible = f"{counts.get('prepare.items_eligible', 0):,.0f} of them may be recommended"
        yield "catalog", f"{_number(summary, 'prepare.items')} items, {eligible}"
    if "prepare.users" in counts:
        cold = counts.get("prepare.users_without_history", 0)
        yield "users", f"{_number(summary, 'prepare.users')} known, {cold:,.0f} of them without a history"
    encoded = sum(number for name, number in counts.items() if name.startswith("encode.") and name.endswith("_encoded"))
    known = sum(
        number for name, number in counts.items() if name.startswith("encode.") and name.endswith("_cache_hits")
    )
    if encoded or known:
        yield "encoding", f"{encoded:,.0f} texts encoded, {known:,.0f} known from earlier nights"
    yield from _lists(summary)
    yield from _quality(summary)
    if summary.stages:
        total, slowest = sum(summary.stages.values()), max(summary.stages, key=lambda name: summary.stages[name])
        stages = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in summary.stages.items())
        yield "seconds", f"{total:,.0f}: {stages}" + (f"; {slowest} took most" if len(summary.stages) > 1 else "")
    if summary.reused:
        yield "reused", ", ".join(f"{stage} of {run_id}" for stage, run_id in summary.reused.items())
    if summary.checks:
        yield from _gates(summary.checks)
    if summary.report:
        yield "look at", summary.report


def _input(summary: RunSummary, table: str) -> str:
    counts, name = summary.counts, f"prepare.{table}"
    refused = {
        key.split(_QUARANTINED)[1]: int(number)
        for key, number in counts.items()
        if key.startswith(f"{name}{_QUARANTINED}") and number
    }
    said = f"{table}: {counts[f'{name}_read']:,.0f} read, {_number(summary, f'{name}_used')} used"
    if refused:
        worst = sorted(refused.items(), key=lambda each: (-each[1], each[0]))
        reasons = [f"{reason} {number:,}" for reason, number in worst[:_MOST_REASONS]]
        if (others := len(worst) - _MOST_REASONS) > 0:
            reasons.append(f"{others} other reason{'s' if others > 1 else ''}")
        said += f", {sum(refused.values()):,} refused ({', '.join(reasons)})"
    return said


def _number(summary: RunSummary, name: str) -> str:
    """Write a count, and how far it is from that of the night before where that is a percent or more."""
    number, before = summary.counts.get(name, 0.0), summary.previous.get(name, 0.0)
    change = (number - before) / before if before else 0.0
    return f"{number:,.0f}" + (f" ({change:+.0%})" if abs(change) >= 0.01 else "")


def _lists(summary: RunSummary) -> Iterator[tuple[str, str]]:
    tables = [name for name in summary.lists if f"rerank.{name}_rows" in summary.counts]
    for place, table in enumerate(tables):
        profiles = summary.counts.get(f"retrieve.{table}_profiles", 0)
        version = f", version {summary.tables[table]}" if table in summary.tables else ""
        rows = _number(summary, f"rerank.{table}_rows")
        yield "" if place else "lists", f"{table}: {rows} rows for {profiles:,.0f} keys{version}"

    effects = {
        words: sum(summary.counts.get(f"rerank.{table}_{name}", 0) for table in tables)
        for name, words in _EFFECTS.items()
    }
    if any(effects.values()):
        yield "rules", ", ".join(f"{number:,.0f} rows {words}" for words, number in effects.items() if number)


def _quality(summary: RunSummary) -> Iterator[tuple[str, str]]:
    counts, said = summary.counts, []
    if "publish.outcome_ndcg" in counts:
        before = summary.previous.get("publish.outcome_ndcg")
        was = f" (the night before {before:.3f})" if before is not None else ""
        users = f"{counts.get('publish.outcome_keys', 0):,.0f} users"
        said.append(f"earlier lists: NDCG {counts['publish.outcome_ndcg']:.3f} for {users}{was}")
    if "publish.agreement" in counts:
        said.append(f"{counts['publish.agreement']:.0%} of the items stood in the lists before")
    if said:
        yield "quality", "; ".join(said)


def _gates(checks: list[Check]) -> Iterator[tuple[str, str]]:
    passed = sum(check.verdict == "pass" for check in checks)
    yield "gates", f"{passed} of {len(checks)} passed"
    # Those that block first; the rest are in quality_metrics.
    others = worst_first(checks)
    for check in others[:_MOST_CHECKS]:
        yield check.verdict, f"{check.table}: {check.check} is {check.value:.4g}, threshold {check.threshold:.4g}"
    if len(others) > _MOST_CHECKS:
        yield "", f"{len(others) - _MOST_CHECKS} more in quality_metrics"
