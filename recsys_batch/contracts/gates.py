"""A check's outcome, and the words for it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from recsys_batch.contracts.errors import ExpectationFailedError, GateFailedError, IncompleteInputError

Verdict = Literal["pass", "warn", "block"]


@dataclass(frozen=True)
class Check:
    """One measured value against its threshold."""

    table: str
    check: str
    value: float
    threshold: float
    verdict: Verdict

    def __post_init__(self) -> None:
        """Make the numbers floats, as the tables hold them."""
        object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "threshold", float(self.threshold))

    def describe(self) -> str:
        """Return the line that an operator reads."""
        return f"{self.table}: {self.check} is {self.value:.10g}, threshold {self.threshold:.10g}: {self.verdict}"


def at_most(table: str, check: str, value: float, threshold: float, otherwise: Verdict = "block") -> Check:
    """Pass where the value does not exceed the threshold."""
    return Check(table, check, float(value), float(threshold), "pass" if value <= threshold else otherwise)


def at_least(table: str, check: str, value: float, threshold: float, otherwise: Verdict = "block") -> Check:
    """Pass where the value reaches the threshold."""
    return Check(table, check, float(value), float(threshold), "pass" if value >= threshold else otherwise)


def refuse_blocked(checks: Iterable[Check], run_id: str, hint: Callable[[], str] = str) -> None:
    """Raise GateFailedError naming every check that blocks; `hint` is asked only then what to look at."""
    blocked = [check.describe() for check in checks if check.verdict == "block"]
    if blocked:
        raise GateFailedError(
            f"run {run_id}: {len(blocked)} gate(s) failed, nothing was published, the previous release stands:\n  "
            + "\n  ".join((*blocked, *filter(None, [hint()])))
        )


@dataclass(frozen=True)
class Judged:
    """A check of an input, and whether its block means that the input is incomplete rather than wrong."""

    check: Check
    retry: bool = False
    hint: str = ""
    """What to look at, with examples."""

    def describe(self) -> str:
        """Return the lines that an operator reads."""
        return self.check.describe() + (f"\n    {self.hint}" if self.hint else "")


def refuse_unmet(judged: Iterable[Judged], run_id: str) -> None:
    """Raise where an expectation blocks, naming each that does, and the warnings, which often tell the cause.

    IncompleteInputError (exit 10) where time may mend every block, else ExpectationFailedError (exit 20).
    """
    all_judged = list(judged)
    blocked = [j for j in all_judged if j.check.verdict == "block"]
    if not blocked:
        return
    warned = [j for j in all_judged if j.check.verdict == "warn"]
    tables = ", ".join(dict.fromkeys(j.check.table for j in blocked))
    message = (
        f"run {run_id}: {len(blocked)} expectation(s) of {tables} not met, nothing was published, the previous release "
        "stands:\n  " + "\n  ".join(j.describe() for j in (*blocked, *warned))
    )
    if all(j.retry for j in blocked):
        raise IncompleteInputError(f"{message}\nThe input has not arrived in full: retry when it has")
    raise ExpectationFailedError(
        f"{message}\nThe same input fails again: mend it, or set another threshold in `expectations` of the config"
    )
