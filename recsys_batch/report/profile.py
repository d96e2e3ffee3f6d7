"""The data profile as one HTML page to look at: no script, no font or file from elsewhere, light and dark.

Shows what `contracts.data_profile` holds, which is masked already; everything that comes from data is escaped.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from html import escape
from itertools import count
from pathlib import Path

from recsys_batch.contracts.data_profile import ColumnProfile, Days, LongTail, QuarantineSample, TableProfile
from recsys_batch.contracts.gates import Check
from recsys_batch.report.profile_style import STYLE
from recsys_batch.report.svg import NUM_COLORS, bars, curve, short, stacked_area

# Statuses that are no fault of the row.
_USED, _FILTERED, _OUTSIDE = "used", "filtered", "outside_window"
_SHOWN_BY_DAY = "event_type"
_MAX_RANK_TICKS = 8


def write_profile(profiles: Sequence[TableProfile], path: str, title: str, checks: Sequence[Check] = ()) -> None:
    """Write the page; parent folders are made. `checks` are the verdicts of the inputs' expectations."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(profile_page(profiles, title, checks), encoding="utf-8")


def profile_page(profiles: Sequence[TableProfile], title: str, checks: Sequence[Check] = ()) -> str:
    """Return the page as HTML."""
    links = "".join(f'<a href="#{escape(p.table)}">{escape(p.table)}</a>' for p in profiles)
    links += '<a href="#expectations">expectations</a>' if checks else ""
    dates = ", ".join(dict.fromkeys(p.ds.isoformat() for p in profiles))
    rows = sum(p.rows for p in profiles)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<header><h1>{escape(title)}</h1><p class="soft">Data profile of {escape(dates)}: {rows:,} rows read in '
        f"{len(profiles)} input tables. Ids and texts in samples are masked.</p><nav>{links}</nav></header>"
        + "".join(_table(profile) for profile in profiles)
        + (_expectations(checks) if checks else "")
        + "</main></body></html>\n"
    )


def _table(p: TableProfile) -> str:
    parts = [_tiles(p), _card("What became of the rows", _statuses(p), "wide")]
    if p.days is not None:
        parts.append(_events_by_day(p.days))
    pairs = []
    if p.long_tail is not None:
        pairs += [_card("How few items take how much", _items_curve(p.long_tail))]
        pairs += [_card("Users by number of events", _users_bars(p.long_tail))]
    if p.prices:
        labels = [short(b.low) for b in p.prices]
        tips = [f"{b.low:,.4g} to {b.high:,.4g}: {b.rows:,} rows" for b in p.prices]
        chart = bars(f"{p.table}: prices, each bar 58% wider", labels, [b.rows for b in p.prices], tips)
        pairs.append(_card("Prices (logarithmic)", chart))
    pairs += [
        _card(f"Most frequent: {escape(c.name)}", _top(c))
        for c in p.columns
        if len(c.top) > 1 and c.name != _SHOWN_BY_DAY
    ]
    parts.append(f'<div class="two">{"".join(pairs)}</div>' if pairs else "")
    parts.append(_card("Columns", _columns([c for c in p.columns if c.null_share < 1]), "wide"))
    if never := [escape(c.name) for c in p.columns if c.null_share == 1]:
        parts.append(f'<p class="soft wide">Never given: {", ".join(never)}.</p>')
    if p.quarantine:
        cards = "".join(_reason(sample, p.rows) for sample in p.quarantine)
        parts.append(f'<h3 class="over">Quarantine by reason</h3><div class="two">{cards}</div>')
    return f'<section id="{escape(p.table)}"><h2>{escape(p.table)}</h2>{"".join(parts)}</section>'


def _card(heading: str, body: str, kind: str = "") -> str:
    """Wrap a body; the heading is HTML already."""
    return f'<div class="card {kind}"><h3>{heading}</h3>{body}</div>'


def _tiles(p: TableProfile) -> str:
    used, left_out = p.statuses.get(_USED, 0), p.statuses.get(_FILTERED, 0) + p.statuses.get(_OUTSIDE, 0)
    quarantined = p.rows - used - left_out
    share = max(p.rows, 1)
    tiles = [(f"{p.rows:,}", "rows read"), (_percent(used / share), f"used: {used:,}")]
    tiles += [(_percent(quarantined / share), f"quarantined: {quarantined:,}")]
    tiles += [(_percent(left_out / share), f"filtered or outside the window: {left_out:,}")]
    if p.long_tail is not None:
        tiles += [(f"{p.long_tail.users:,}", "users with events"), (f"{p.long_tail.items:,}", "items with events")]
    made = "".join(f'<div class="card tile"><b>{number}</b><span>{words}</span></div>' for number, words in tiles)
    return f'<div class="tiles">{made}</div>'


def _statuses(p: TableProfile) -> str:
    colors = _colors(p.statuses)
    bar = "".join(
        f'<i class="b{colors[status]}" style="width:{100 * rows / max(p.rows, 1):.3f}%" '
        f'title="{escape(status)}: {rows:,}"></i>'
        for status, rows in p.statuses.items()
    )
    spoken = ", ".join(f"{status} {rows:,}" for status, rows in p.statuses.items())
    return f'<div class="stack" role="img" aria-label="{escape(spoken)}">{bar}</div>{_legend(p.statuses)}'


def _events_by_day(days: Days) -> str:
    """Draw events a day by type: a step of several days, of which the last may be shorter, shows its mean."""
    ends = [*days.starts[1:], days.last + timedelta(days=1)]
    lengths = [(end - start).days for start, end in zip(days.starts, ends, strict=True)]
    a_day = {name: [n / d for n, d in zip(rows, lengths, strict=True)] for name, rows in days.by_type.items()}
    labels = [f"{start.day} {start:%b}" for start in days.starts]
    chart = stacked_area("Events a day, by type", labels, a_day, list(_colors(days.by_type).values()))
    mean = "" if days.days_a_step == 1 else f" <small>mean of every {days.days_a_step} days</small>"
    legend = _legend({name: sum(rows) for name, rows in days.by_type.items()})
    return _card(f"Events a day, by type{mean}", f'<div class="scroll">{chart}</div>{legend}', "wide")


def _colors(names: Iterable[str]) -> dict[str, int]:
    """Give every name a color; gray is for what nobody looks for."""
    gray = NUM_COLORS - 1
    bright = count()
    return {name: gray if name in (_FILTERED, _OUTSIDE, "other") else next(bright) % gray for name in names}


def _legend(rows: Mapping[str, int]) -> str:
    total = max(sum(rows.values()), 1)
    colors = _colors(rows)
    made = "".join(
        f'<li><i class="b{colors[name]}"></i>{_words(name)} <b>{n:,}</b> <small>{_percent(n / total)}</small></li>'
        for name, n in rows.items()
    )
    return f'<ul class="key">{made}</ul>'


def _items_curve(tail: LongTail) -> str:
    # The rank by its logarithm: else the head of the curve is a wall.
    span = math.log10(max(tail.items, 2))
    points = [
        (math.log10(rank) / span, share, f"the first {rank:,} items: {100 * share:.1f}% of the events")
        for rank, share in tail.curve
    ]
    powers = range(0, min(int(span) + 1, _MAX_RANK_TICKS))
    ticks = [(power / span, f"{10**power:,}") for power in powers]
    half = next((rank for rank, share in tail.curve if share >= 0.5), tail.items)
    words = (
        f"<p><small>The {half:,} most popular of {tail.items:,} items ({_percent(half / tail.items)}) have at least \
half of the events.</small></p>"
    )
    return curve("Share of the used events by number of most popular items", points, ticks) + words


def _users_bars(tail: LongTail) -> str:
    def label(low: float, high: float) -> str:
        return f"{low:.0f}" if high - low == 1 else f"{short(round(low, 1 - int(math.log10(low))))}+"

    tips = [f"{b.low:,.0f} to {b.high - 1:,.0f} events: {b.rows:,} users" for b in tail.users_by_events]
    labels = [label(b.low, b.high) for b in tail.users_by_events]
    chart = bars("Users by number of used events", labels, [b.rows for b in tail.users_by_events], tips)
    return chart + "<p><small>Each bar holds users with twice as many events as the one before.</small></p>"


def _top(column: ColumnProfile) -> str:
    most = max(n for _, n in column.top)
    made = "".join(
        f'<span title="{escape(value, quote=True)}">{escape(value) or "(empty)"}</span>'
        f'<u><i class="b0" style="width:{100 * n / most:.1f}%"></i></u><b>{n:,}</b>'
        for value, n in column.top
    )
    return f'<div class="rows">{made}</div>'


def _columns(columns: Iterable[ColumnProfile]) -> str:
    head = (
        "<tr><th>column</th><th>kind</th><th>missing</th><th class=num>distinct, about</th>"
        "<th>from, to</th><th class=num>mean</th><th>5% · 25% · <b>50%</b> · 75% · 95%</th></tr>"
    )
    body = "".join(
        f"<tr><td><b>{escape(c.name)}</b></td><td>{escape(c.kind)}</td><td>{_meter(c)}</td>"
        f'<td class="num">{"" if c.distinct is None else f"{c.distinct:,}"}</td>'
        f"<td>{escape(c.low)}{' … ' if c.low else ''}{escape(c.high)}</td>"
        f'<td class="num">{"" if c.mean is None else f"{c.mean:,.4g}"}</td><td>{_quantiles(c)}</td></tr>'
        for c in columns
    )
    return f'<div class="scroll"><table>{head}{body}</table></div>'


def _meter(c: ColumnProfile) -> str:
    spoken = f"{c.name}: {100 * c.null_share:.1f}% missing"
    fill = f'<i style="width:{100 * c.null_share:.1f}%"></i>'
    return (
        f'<div class="meter" role="img" aria-label="{escape(spoken, quote=True)}"><u>{fill}</u>'
        f"<em>{_percent(c.null_share)}</em></div>"
    )


def _quantiles(c: ColumnProfile) -> str:
    values = [f"{value:,.4g}" for value in c.quantiles]
    if len(values) > 2:
        values[len(values) // 2] = f"<b>{values[len(values) // 2]}</b>"
    return " · ".join(values) + (" <small>characters</small>" if c.kind == "text" and values else "")


def _reason(q: QuarantineSample, rows_read: int) -> str:
    samples = "".join(
        '<div class="sample">'
        + "".join(f"<span><b>{escape(name)}</b> {escape(value)}</span>" for name, value in sample.items())
        + "</div>"
        for sample in q.samples
    )
    share = _percent(q.rows / max(rows_read, 1))
    heading = f"<span>{_words(q.reason)}</span><b>{q.rows:,} <small>{share}</small></b>"
    return f'<div class="card"><h3 class="reason">{heading}</h3>{samples}</div>'


def _expectations(checks: Sequence[Check]) -> str:
    order = {"block": 0, "warn": 1, "pass": 2}
    body = "".join(
        f'<tr><td class="verdict {c.verdict}">{c.verdict}</td><td>{escape(c.table)}</td><td>{escape(c.check)}</td>'
        f'<td class="num">{c.value:,.4g}</td><td class="num">{c.threshold:,.4g}</td></tr>'
        for c in sorted(checks, key=lambda c: order[c.verdict])
    )
    head = "<tr><th>verdict</th><th>table</th><th>check</th><th class=num>value</th><th class=num>threshold</th></tr>"
    table = f'<div class="card scroll"><table>{head}{body}</table></div>'
    return f'<section id="expectations"><h2>expectations</h2>{table}</section>'


def _words(name: str) -> str:
    return escape(name.replace("_", " "))


def _percent(share: float) -> str:
    """Write a share so that what is not nothing does not read like nothing, nor what is not all like all."""
    if 0 < share < 0.001:
        return "&lt;0.1%"
    if 0.999 < share < 1:
        return "&gt;99.9%"
    return f"{100 * share:.3g}%" if share >= 0.01 else f"{100 * share:.1f}%"
