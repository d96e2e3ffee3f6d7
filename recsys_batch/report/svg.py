"""Small charts as inline SVG: bars, a stacked area, a curve. Colors come from the page's style sheet.

Everything that comes from data is escaped; every chart has a title that a screen reader speaks.
"""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

HEIGHT = 240
# Of a chart over the whole width of the page, and of one that shares it.
WIDE, HALF = 1080, 560
_LEFT, _RIGHT, _BOTTOM, _TOP = 52, 12, 24, 10
# One for each event type, and gray, the last.
NUM_COLORS = 11


def stacked_area(
    title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], colors: Sequence[int]
) -> Markup:
    """Draw one band a series in its color, the first at the bottom; `labels` stand below, as many as fit."""
    totals = [sum(values[at] for values in series.values()) for at in range(len(labels))]
    top = _round_up(max(totals, default=0))
    step = _inner(WIDE) / max(len(labels), 1)
    below = [0.0] * len(labels)
    parts = _grid(top, WIDE)
    for number, (name, values) in enumerate(series.items()):
        above = [b + v for b, v in zip(below, values, strict=True)]
        # Steps, not slopes: a day without events is seen as one.
        edge = [f"{_LEFT + step * (at + side):.1f},{_y(y, top):.1f}" for at, y in enumerate(above) for side in (0, 1)]
        back = [f"{_LEFT + step * (at + side):.1f},{_y(y, top):.1f}" for at, y in enumerate(below) for side in (0, 1)]
        points = " ".join([*edge, *reversed(back)])
        parts.append(f'<polygon class="c{colors[number]}" points="{points}"><title>{escape(name)}</title></polygon>')
        below = above
    every = max(-(-len(labels) // 8), 1)
    parts += [_label(_LEFT + step * (at + 0.5), labels[at]) for at in range(0, len(labels), every)]
    return _svg(title, parts, WIDE)


def bars(title: str, labels: Sequence[str], values: Sequence[float], tips: Sequence[str]) -> Markup:
    """Draw one upright bar a value."""
    top = _round_up(max(values, default=0))
    step = _inner(HALF) / max(len(values), 1)
    parts = _grid(top, HALF)
    for at, (value, tip) in enumerate(zip(values, tips, strict=True)):
        y = _y(value, top)
        parts.append(
            f'<rect class="c0" x="{_LEFT + step * at + 1:.1f}" y="{y:.1f}" width="{max(step - 2, 1):.1f}" '
            f'height="{_y(0, top) - y:.1f}" rx="2"><title>{escape(tip)}</title></rect>'
        )
    every = max(-(-len(labels) // 10), 1)
    parts += [_label(_LEFT + step * (at + 0.5), labels[at]) for at in range(0, len(labels), every)]
    return _svg(title, parts)


def curve(title: str, points: Sequence[tuple[float, float, str]], ticks: Sequence[tuple[float, str]]) -> Markup:
    """Draw a rising line through (x, y, tip), both from 0 to 1; `ticks` stand below."""
    placed = [(_LEFT + x * _inner(HALF), _y(y, 1.0), tip) for x, y, tip in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in placed)
    parts = _grid(1.0, HALF, percent=True)
    if placed:
        floor = _y(0, 1.0)
        parts.append(
            f'<polygon class="under" points="{placed[0][0]:.1f},{floor:.1f} {line} {placed[-1][0]:.1f},{floor:.1f}"/>'
        )
        parts.append(f'<polyline class="line" points="{line}"/>')
    parts += [
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"><title>{escape(tip)}</title></circle>'
        for x, y, tip in placed
    ]
    parts += [_label(_LEFT + x * _inner(HALF), text) for x, text in ticks]
    return _svg(title, parts)


def short(number: float) -> str:
    """Write a number in at most five characters or so: 950, 12k, 3.4M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= unit:
            scaled = number / unit
            return f"{scaled:.3g}{name}"
    return f"{number:.3g}"


def _inner(width: int) -> float:
    return float(width - _LEFT - _RIGHT)


def _round_up(top: float) -> float:
    """Return the next number of which a quarter reads well."""
    if top <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(top))
    return next(unit * step for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if unit * step >= top)


def _y(value: float, top: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - value / top)


def _grid(top: float, width: int, percent: bool = False) -> list[str]:
    parts = []
    for quarter in range(5):
        value = top * quarter / 4
        y = _y(value, top)
        text = f"{100 * value:.0f}%" if percent else short(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    return parts


def _label(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(text)}</text>'


def _svg(title: str, parts: Sequence[str], width: int = HALF) -> Markup:
    name = escape(title)
    inner = "".join(parts)
    return Markup(  # noqa: S704 - every part is escaped where it is made
        f'<svg class="chart" viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{name}">'
        f"<title>{name}</title>{inner}</svg>"
    )
