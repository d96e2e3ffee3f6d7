"""The data profile as one HTML page to look at: no script, no font or file from elsewhere, light and dark.

It shows what `contracts.data_profile` holds, which is masked already; the template escapes all that comes from data.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import count
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recsys_batch.contracts.data_profile import Days, LongTail, TableProfile
from recsys_batch.contracts.gates import Check
from recsys_batch.report.profile_style import STYLE
from recsys_batch.report.svg import NUM_COLORS, bars, curve, short, stacked_area

# Statuses that are no fault of the row.
_USED, _FILTERED, _OUTSIDE = "used", "filtered", "outside_window"
_SHOWN_BY_DAY = "event_type"
_MAX_RANK_TICKS = 8
_WORST_FIRST = {"block": 0, "warn": 1, "pass": 2}


def profile_page(profiles: Sequence[TableProfile], title: str, checks: Sequence[Check] = ()) -> str:
    """Return the page as HTML. `checks` are the verdicts of the inputs' expectations."""
    pages = Environment(
        loader=PackageLoader("recsys_batch.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pages.filters |= {"percent": _percent, "figure": "{:,.4g}".format, "words": lambda name: name.replace("_", " ")}
    return pages.get_template("profile.html").render(
        title=title,
        style=Markup(STYLE),  # noqa: S704 - a constant
        dates=", ".join(dict.fromkeys(p.ds.isoformat() for p in profiles)),
        rows=sum(p.rows for p in profiles),
        tables=[_table(profile) for profile in profiles],
        checks=sorted(checks, key=lambda check: _WORST_FIRST[check.verdict]),
    )


def _table(p: TableProfile) -> dict[str, Any]:
    """Return what the template shows of one table."""
    return {
        "profile": p,
        "read": max(p.rows, 1),
        "tiles": _tiles(p),
        "statuses": _legend(p.statuses, p.rows),
        "spoken": ", ".join(f"{status} {rows:,}" for status, rows in p.statuses.items()),
        "days": _events_by_day(p.days) if p.days is not None else "",
        "types": _legend({name: sum(rows) for name, rows in p.days.by_type.items()}) if p.days is not None else [],
        "charts": _charts(p),
        "tops": [c for c in p.columns if len(c.top) > 1 and c.name != _SHOWN_BY_DAY],
        "columns": [c for c in p.columns if c.null_share < 1],
        "never": [c.name for c in p.columns if c.null_share == 1],
    }


def _tiles(p: TableProfile) -> list[tuple[str, str]]:
    used, left_out = p.statuses.get(_USED, 0), p.statuses.get(_FILTERED, 0) + p.statuses.get(_OUTSIDE, 0)
    quarantined = p.rows - used - left_out
    share = max(p.rows, 1)
    tiles = [(f"{p.rows:,}", "rows read"), (_percent(used / share), f"used: {used:,}")]
    tiles += [(_percent(quarantined / share), f"quarantined: {quarantined:,}")]
    tiles += [(_percent(left_out / share), f"filtered or outside the window: {left_out:,}")]
    if p.long_tail is not None:
        tiles += [(f"{p.long_tail.users:,}", "users with events"), (f"{p.long_tail.items:,}", "items with events")]
    return tiles


def _legend(rows: Mapping[str, int], total: int = 0) -> list[tuple[str, int, int, float]]:
    """Return (name, rows, color, share of the total) of each name."""
    colors = _colors(rows)
    share = max(total or sum(rows.values()), 1)
    return [(name, n, colors[name], n / share) for name, n in rows.items()]


def _events_by_day(days: Days) -> Markup:
    """Draw events a day by type: a step of several days, of which the last may be shorter, shows its mean."""
    ends = [*days.starts[1:], days.last + timedelta(days=1)]
    lengths = [(end - start).days for start, end in zip(days.starts, ends, strict=True)]
    a_day = {name: [n / d for n, d in zip(rows, lengths, strict=True)] for name, rows in days.by_type.items()}
    labels = [f"{start.day} {start:%b}" for start in days.starts]
    return stacked_area("Events a day, by type", labels, a_day, list(_colors(days.by_type).values()))


def _colors(names: Iterable[str]) -> dict[str, int]:
    """Give every name a color; gray is for what nobody looks for."""
    gray = NUM_COLORS - 1
    bright = count()
    return {name: gray if name in (_FILTERED, _OUTSIDE, "other") else next(bright) % gray for name in names}


def _charts(p: TableProfile) -> list[tuple[str, Markup, str]]:
    """Return (heading, chart, words below) of each chart that takes half the page."""
    charts = []
    if p.long_tail is not None:
        charts.append(("How few items take how much", _items_curve(p.long_tail), _half(p.long_tail)))
        words = "Each bar holds users with twice as many events as the one before."
        charts.append(("Users by number of events", _users_bars(p.long_tail), words))
    if p.prices:
        labels = [short(b.low) for b in p.prices]
        tips = [f"{b.low:,.4g} to {b.high:,.4g}: {b.rows:,} rows" for b in p.prices]
        chart = bars(f"{p.table}: prices, each bar 58% wider", labels, [b.rows for b in p.prices], tips)
        charts.append(("Prices (logarithmic)", chart, ""))
    return charts


def _items_curve(tail: LongTail) -> Markup:
    # The rank by its logarithm: else the head of the curve is a wall.
    span = math.log10(max(tail.items, 2))
    points = [
        (math.log10(rank) / span, share, f"the first {rank:,} items: {100 * share:.1f}% of the events")
        for rank, share in tail.curve
    ]
    powers = range(0, min(int(span) + 1, _MAX_RANK_TICKS))
    ticks = [(power / span, f"{10**power:,}") for power in powers]
    return curve("Share of the used events by number of most popular items", points, ticks)


def _half(tail: LongTail) -> str:
    half = next((rank for rank, share in tail.curve if share >= 0.5), tail.items)
    share = _percent(half / tail.items)
    return f"The {half:,} most popular of {tail.items:,} items ({share}) have at least half of the events."


def _users_bars(tail: LongTail) -> Markup:
    def label(low: float, high: float) -> str:
        return f"{low:.0f}" if high - low == 1 else f"{short(round(low, 1 - int(math.log10(low))))}+"

    tips = [f"{b.low:,.0f} to {b.high - 1:,.0f} events: {b.rows:,} users" for b in tail.users_by_events]
    labels = [label(b.low, b.high) for b in tail.users_by_events]
    return bars("Users by number of used events", labels, [b.rows for b in tail.users_by_events], tips)


def _percent(share: float) -> str:
    """Write a share so that what is not nothing does not read like nothing, nor what is not all like all."""
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{100 * share:.3g}%" if share >= 0.01 else f"{100 * share:.1f}%"
