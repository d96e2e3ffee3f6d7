"""A check's outcome, and the words for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from recsys_batch.contracts.errors import GateFailedError

Verdict = Literal["pass", "warn", "block"]


@dataclass(frozen=True)
class Check:
    """One measured value against its threshold."""

    table: str
    check: str
    value: float
    threshold: float
    verdict: Verdict

    def describe(self) -> str:
        """Return the line that an operator reads."""
        return f"{self.table}: {self.check} is {self.value:.10g}, threshold {self.threshold:.10g}: {self.verdict}"


def at_most(table: str, check: str, value: float, threshold: float, otherwise: Verdict = "block") -> Check:
    """Pass where the value does not exceed the threshold."""
    return Check(table, check, float(value), float(threshold), "pass" if value <= threshold else otherwise)


def at_least(table: str, check: str, value: float, threshold: float, otherwise: Verdict = "block") -> Check:
    """Pass where the value reaches the threshold."""
    return Check(table, check, float(value), float(threshold), "pass" if value >= threshold else otherwise)


def refuse_blocked(checks: Iterable[Check], run_id: str) -> None:
    """Raise GateFailedError naming every check that blocks."""
    blocked = [check.describe() for check in checks if check.verdict == "block"]
    if blocked:
        raise GateFailedError(
            f"run {run_id}: {len(blocked)} gate(s) failed, nothing was published, the previous release stands:\n  "
            + "\n  ".join(blocked)
        )
