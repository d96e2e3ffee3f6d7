"""Expectations of the inputs: which counts they need, and what those counts mean.

Every check is arithmetic on numbers of rows a day, so that one pass over a table serves all of its expectations.
Knows no Spark: `spark.expectations` counts, this module judges.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from statistics import median
from typing import Literal
from zoneinfo import ZoneInfo

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.prepare import Expectation
from recsys_batch.contracts.gates import Check, Judged, Verdict

# A weekday is held against the same weekday of so many weeks, and a null share against so many days.
WEEKS_COMPARED = 8
DAYS_COMPARED = 28
# Fewer earlier days say nothing about what is usual.
DAYS_NEEDED = 3
# The share of the days compared that a null share must stay within: ordinary swings pass, two bad days in the past
# change nothing, and a column that is always filled is held to that.
_USUAL = 0.9
# Below this, one odd row is a large share.
_FEW = 20


# A handful of odd values is dirt; a column of which a fifth cannot be read is read in the wrong form.
def _unread(scope: Literal["day", "window"], *columns: str) -> tuple[Expectation, ...]:
    return tuple(
        Expectation(check="unread_share", column=column, scope=scope, warn_above=0.01, block_above=0.2, min_rows=_FEW)
        for column in columns
    )


DEFAULTS: Mapping[str, tuple[Expectation, ...]] = {
    "events": (
        # A day that came in part comes in full later. Many rows may just be a good day: they never block.
        Expectation(
            check="rows_to_weekday_median", block_below=0.3, warn_below=0.6, warn_above=3.0, min_rows=_FEW, retry=True
        ),
        *(
            Expectation(check="null_share_rise", column=column, warn_above=0.1, block_above=0.25, min_rows=_FEW)
            for column in Inputs.TYPES["events"]
        ),
        # Rows without a time belong to no day, unless they say when they were received.
        Expectation(check="null_share", column="event_time", scope="window", block_above=0.25, min_rows=_FEW),
        Expectation(check="repeated_share", warn_above=0.2, block_above=0.5, min_rows=_FEW),
        # Yesterday's file again: the day itself is short of rows, and this says why.
        Expectation(check="repeated_share", scope="day_before", warn_above=0.3, min_rows=_FEW),
        Expectation(check="reused_id_share", warn_above=0.01, min_rows=_FEW),
        # What has no time is of no day.
        *_unread("window", "event_time", "received_at"),
        *_unread("day", "user_id", "item_id", "quantity", "rating", "position"),
    ),
    "items": (
        Expectation(check="quarantined_share", column="missing_item_id", block_above=0.25, min_rows=_FEW),
        Expectation(check="quarantined_share", column="missing_title", block_above=0.25, min_rows=_FEW),
        *_unread("day", "item_id", "price", "available", "updated_at"),
    ),
    "reviews": _unread("day", "item_id", "rating", "review_time"),
}
"""What every input is held to, unless `expectations.defaults` is off."""

CountOf = Literal[
    "rows",
    "repeated",
    "quarantined",
    "due",
    "null",
    "given",
    "distinct",
    "out_of_range",
    "unmatched",
    "unread",
    "tried",
    "reused",
]


@dataclass(frozen=True)
class Count:
    """A number of rows that the pass over a table counts for each day.

    `due`: rows that should have a value in `column`; `null`: those of them that have none; `given`: rows with a value;
    `distinct`: different values; `quarantined`: not used, for the reason `column` where one is named; `unread`: a value
    was given and came to nothing; `tried`: these and those given; `reused`: events whose event_id others have too.
    """

    of: CountOf
    column: str = ""
    low: float | None = None
    high: float | None = None


ROWS = Count("rows")
REPEATED = Count("repeated")


@dataclass(frozen=True)
class Measured:
    """What one pass over an input table found. Filtered rows and rows outside the window are in none of the counts."""

    table: str
    ds: date
    days: Mapping[date, Mapping[Count, int]]
    """Day -> counts; empty for a table without days."""
    undated: Mapping[Count, int]
    """Counts of the rows that no day can be told of; all rows of a table without days."""
    newest: Mapping[str, datetime]
    """Time column -> its newest value in UTC, among the used rows."""
    timezone: str = "UTC"
    """Where the business day ends."""

    def rows_of(self, day: date) -> int:
        """Return the number of rows of a day."""
        return self.days.get(day, {}).get(ROWS, 0)

    def counts_in(self, scope: str) -> Mapping[Count, int]:
        """Return the counts of `day`, `day_before` or `window`."""
        if self.table != "events":
            return self.undated
        if scope == "day":
            return self.days.get(self.ds, {})
        if scope == "day_before":
            before = [day for day in self.days if day < self.ds and self.rows_of(day)]
            return self.days[max(before)] if before else {}
        total: Counter[Count] = Counter(self.undated)
        for counts in self.days.values():
            total.update(counts)
        return total


@dataclass(frozen=True)
class _TooFew:
    """A check that cannot be judged: how many rows or days there are, and how many it takes."""

    found: int
    needed: int


def expectations_of(table: str, declared: Sequence[Expectation], defaults: bool = True) -> list[Expectation]:
    """Return the built-in expectations of the table, less those declared anew, then the declared ones."""
    names = {expectation.name for expectation in declared}
    return [e for e in DEFAULTS[table] if defaults and e.name not in names] + list(declared)


def counts_needed(expectations: Iterable[Expectation]) -> set[Count]:
    """Return every count that judging the expectations takes."""
    return {ROWS}.union(*(_ratio(e) for e in expectations if e.check != "hours_since_newest"))


def times_needed(expectations: Iterable[Expectation]) -> set[str]:
    """Return the time columns whose newest value judging the expectations takes."""
    return {e.column for e in expectations if e.check == "hours_since_newest"}


def evaluate_expectations(expectations: Iterable[Expectation], measured: Measured) -> list[Judged]:
    """Judge every expectation; what cannot be judged passes, as `<name>.to_judge`: what was found and needed."""
    judged = []
    for expectation in expectations:
        value = _value(expectation, measured)
        if isinstance(value, _TooFew):
            check = Check(measured.table, f"{expectation.name}.to_judge", value.found, value.needed, "pass")
        else:
            threshold, verdict = _verdict(expectation, value)
            check = Check(measured.table, expectation.name, value, threshold, verdict)
        judged.append(Judged(check, expectation.retry))
    return judged


def _ratio(e: Expectation) -> tuple[Count, Count]:
    """Return the counts that a check divides, part first; `rows` and comparisons divide in their own way."""
    ratios = {
        "rows": (REPEATED, ROWS),
        "rows_to_weekday_median": (REPEATED, ROWS),
        "null_share": (Count("null", e.column), Count("due", e.column)),
        "null_share_rise": (Count("null", e.column), Count("due", e.column)),
        "out_of_range_share": (Count("out_of_range", e.column, e.min, e.max), Count("given", e.column)),
        "repeated_share": (Count("distinct", e.column), Count("given", e.column)) if e.column else (REPEATED, ROWS),
        "unread_share": (Count("unread", e.column), Count("tried", e.column)),
        "reused_id_share": (Count("reused"), Count("given", "event_id")),
        "unmatched_share": (Count("unmatched"), Count("given", "item_id")),
        "quarantined_share": (Count("quarantined", e.column), ROWS),
    }
    return ratios[e.check]


def _value(e: Expectation, m: Measured) -> float | _TooFew:
    if e.check == "rows":
        return float(m.counts_in(e.scope).get(ROWS, 0))
    if e.check == "hours_since_newest":
        newest = m.newest.get(e.column)
        end = datetime.combine(m.ds + timedelta(days=1), time(), ZoneInfo(m.timezone))
        return _TooFew(0, 1) if newest is None else (end - newest).total_seconds() / 3600
    if e.check == "rows_to_weekday_median":
        return _to_weekday_median(e, m)
    share = _share(e, m.counts_in(e.scope))
    if isinstance(share, float) and e.check == "null_share_rise":
        return _rise(e, m, share)
    return share


def _share(e: Expectation, counts: Mapping[Count, int]) -> float | _TooFew:
    part, whole = (counts.get(count, 0) for count in _ratio(e))
    if whole < e.min_rows:
        return _TooFew(whole, e.min_rows)
    return 1 - part / whole if e.check == "repeated_share" and e.column else part / whole


def _to_weekday_median(e: Expectation, m: Measured) -> float | _TooFew:
    def rows(day: date) -> int:
        return m.rows_of(day) - m.days.get(day, {}).get(REPEATED, 0)

    first = min((day for day in m.days if m.rows_of(day)), default=m.ds)
    weeks = (m.ds - timedelta(weeks=back) for back in range(1, WEEKS_COMPARED + 1))
    earlier = [rows(day) for day in weeks if day >= first]
    # A shop that is closed on most of these days is not missing anything when it is closed today.
    found, needed = sum(n > 0 for n in earlier), max(DAYS_NEEDED, len(earlier) // 2 + 1)
    if found < needed:
        return _TooFew(found, needed)
    usual = median(earlier)
    return rows(m.ds) / usual if usual >= e.min_rows else _TooFew(int(usual), e.min_rows)


def _rise(e: Expectation, m: Measured, share: float) -> float | _TooFew:
    earlier = (_share(e, m.days.get(m.ds - timedelta(days=back), {})) for back in range(1, DAYS_COMPARED + 1))
    shares = sorted(s for s in earlier if isinstance(s, float))
    if len(shares) < DAYS_NEEDED:
        return _TooFew(len(shares), DAYS_NEEDED)
    return share - shares[math.ceil(_USUAL * len(shares)) - 1]


def _verdict(e: Expectation, value: float) -> tuple[float, Verdict]:
    """Return the threshold that decides, and the verdict; of a pass, the threshold nearest to the value."""
    if e.block_below is not None and value < e.block_below:
        return e.block_below, "block"
    if e.block_above is not None and value > e.block_above:
        return e.block_above, "block"
    if e.warn_below is not None and value < e.warn_below:
        return e.warn_below, "warn"
    if e.warn_above is not None and value > e.warn_above:
        return e.warn_above, "warn"
    given = [t for t in (e.block_below, e.block_above, e.warn_below, e.warn_above) if t is not None]
    return min(given, key=lambda threshold: abs(threshold - value)), "pass"
