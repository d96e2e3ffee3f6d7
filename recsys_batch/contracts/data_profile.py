"""What a data profile holds: counts and summaries of an input table, and a few masked sample rows.

Knows neither Spark, which measures it, nor the page that shows it. Nothing in it names a user.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

ColumnKind = Literal["id", "category", "text", "number", "time", "flag", "map"]

_MAX_TEXT = 40
_EMAIL = re.compile(r"\S+@\S+")
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class ColumnProfile:
    """One column over all rows that the source's `where` keeps; what does not fit its kind is None or empty."""

    name: str
    kind: ColumnKind
    null_share: float
    distinct: int | None = None
    """Approximate."""
    low: str = ""
    """Smallest value of a number or a time, as people write it."""
    high: str = ""
    mean: float | None = None
    quantiles: tuple[float, ...] = ()
    """Approximate, at `QUANTILES`: of a number's values, of a text's lengths in characters."""
    top: tuple[tuple[str, int], ...] = ()
    """Most frequent values of a category and their rows, most frequent first."""


QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Bin:
    """A bar of a histogram: rows with a value from `low` to below `high`."""

    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class Days:
    """Events within the window by day, or by several days where the window is long, and type."""

    days_a_step: int
    starts: tuple[date, ...]
    """First day of each step."""
    last: date
    """Last day of the last step, which may be shorter."""
    by_type: dict[str, tuple[int, ...]]
    """Event type -> number of events of each step."""


@dataclass(frozen=True)
class LongTail:
    """How the used events spread over items and users."""

    items: int
    curve: tuple[tuple[int, float], ...]
    """(rank, share of the events that the items up to this rank have), the most popular item first."""
    users: int
    users_by_events: tuple[Bin, ...]
    """Users by number of events, in powers of two."""


@dataclass(frozen=True)
class QuarantineSample:
    """Why rows were refused, how many, and a few of them with ids masked."""

    reason: str
    rows: int
    samples: tuple[dict[str, str], ...]
    """Column -> masked value; what is null is left out."""


@dataclass(frozen=True)
class TableProfile:
    """One input table as a page shows it."""

    table: str
    ds: date
    statuses: dict[str, int]
    """Status -> rows; they add up to all rows read."""
    columns: tuple[ColumnProfile, ...]
    quarantine: tuple[QuarantineSample, ...]
    days: Days | None = None
    long_tail: LongTail | None = None
    prices: tuple[Bin, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows read."""
        return sum(self.statuses.values())


@dataclass(frozen=True)
class SourcePreview:
    """The first rows of a source before and after its expressions, and how many values there are."""

    where: str
    """`sources.TABLE.NUMBER`."""
    path: str
    before: tuple[dict[str, str], ...]
    """Its first rows: column of the file -> value, shortened."""
    after: tuple[dict[str, str], ...]
    """The same rows as they are read: column of the input table -> value, ids masked."""
    rows: int
    """Rows looked at, from the first on."""
    null_share: dict[str, float]
    """Column of `select` -> share of the rows that have no value there."""
    unread: dict[str, int]
    """Column of `select` -> rows whose value was given and could not be read."""
    on_ds: int | None
    """Of `events`: rows whose time is of the business date, in the shop's time zone; else None."""


def mask_id(value: str, shown: int = 1) -> str:
    """Return the first characters and the length: enough to see what kind of id it is, not whose."""
    head = value[:shown] if len(value) > 2 * shown else ""
    return f"{head}…({len(value)})"


def mask_text(value: str) -> str:
    """Return the beginning of a text without digits and mail addresses, in which people may be named."""
    masked = _DIGIT.sub("#", _EMAIL.sub("…@…", value))
    return masked if len(masked) <= _MAX_TEXT else masked[: _MAX_TEXT - 1] + "…"


def share_up_to(bins: Sequence[tuple[int, int]]) -> tuple[tuple[int, float], ...]:
    """Turn (items, events of them), most popular first, into (items so far, share of all events so far)."""
    total = sum(events for _, events in bins)
    items_so_far = events_so_far = 0
    curve = []
    for items, events in bins:
        items_so_far += items
        events_so_far += events
        curve.append((items_so_far, events_so_far / total))
    return tuple(curve)
