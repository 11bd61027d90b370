"""Charts as SVG, which a page contains: lines of a panel, shares of actions.

They are complete without JavaScript; what it adds is the numbers below the pointer, which stand
beside each chart as JSON (:func:`line_chart`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

from ..actions import ActionSet
from ..curves import Panel, Series, Shares
from ..runlog import Numbers
from .palette import colors
from .training import line_colors

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 54, 26, 8, 36
POINT = 2.8

LINE_POINTS = 600
"""Longer lines are drawn with the least and the greatest number of each of half as many parts."""

HOVER_POINTS = 400
"""So many of the numbers, evenly spread, can be read with the pointer."""

OUTLIERS = 1.0
"""Percent of the numbers of a long curve, at either end, that may lie beyond the axes."""

LONG = 50
"""Curves of so many numbers are long."""


class _Axes:
    """Maps numbers to places and draws frame, ticks and labels."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], name: str) -> None:
        self.x, self.y = _widened(*x), _widened(*y)
        self.name = name

    def across(self, value: float) -> float:
        low, high = self.x
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def up(self, value: float) -> float:
        low, high = self.y
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def path(self, x: Iterable[float], y: Iterable[float]) -> str:
        places = (f"{self.across(a):.1f} {self.up(b):.1f}" for a, b in zip(x, y, strict=True))
        return "M" + "L".join(places)

    def point(self, x: float, y: float, color: str) -> str:
        place = f'cx="{self.across(x):.1f}" cy="{self.up(y):.1f}"'
        return f'<circle {place} r="{POINT}" fill="{color}"/>'

    def frame(self, *, percent: bool = False) -> str:
        parts = []
        for value in _ticks(*self.y):
            place = f"{self.up(value):.1f}"
            text = f"{value:.0%}" if percent else _number(value)
            parts.append(
                f'<path class="grid" d="M{LEFT} {place}H{WIDTH - RIGHT}"/>'
                f'<text x="{LEFT - 5}" y="{place}" dy=".33em" text-anchor="end">{text}</text>'
            )
        base = HEIGHT - BOTTOM
        for value in _ticks(*self.x, whole=True):
            place = f"{self.across(value):.1f}"
            parts.append(
                f'<path class="grid" d="M{place} {base}v4"/>'
                f'<text x="{place}" y="{base + 16}" text-anchor="middle">{_number(value)}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        label = (
            f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(self.name)}</text>'
        )
        box = f'<path class="axis" d="M{LEFT} {TOP}V{base}H{WIDTH - RIGHT}"/>'
        return "".join((*parts, label, box))


def _widened(low: float, high: float) -> tuple[float, float]:
    """Give a range without extent one, so that a single number has a place."""
    if high > low:
        return low, high
    room = abs(low) / 10 or 0.5
    return low - room, high + room


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    locator = MaxNLocator(5, integer=whole)
    return [float(value) for value in locator.tick_values(low, high) if low <= value <= high]


def _number(value: float) -> str:
    return f"{value:,.6g}".replace("-", "\N{MINUS SIGN}")


def _drawing(content: str, label: str, *, focus: bool) -> str:
    keys = ' tabindex="0"' if focus else ""
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"{keys} '
        f'aria-label="{escape(label)}">{content}</svg>'
    )


def line_chart(panel: Panel) -> str:
    """Draw the lines of a panel: a figure with legend, chart and the numbers for the pointer."""
    axes = _Axes(_x_range(panel), _y_range(panel), panel.axis)
    lines, legend, numbers = [], [], []
    for series, color in zip(panel.series, line_colors(panel), strict=True):
        shown = _thinned(series.x, series.y)
        if series.sparse:
            lines += [axes.point(x, y, color) for x, y in zip(*shown, strict=True)]
        else:
            pale = axes.path(*shown)
            line = axes.path(*_thinned(series.x, series.line))
            lines.append(f'<path class="pale" stroke="{color}" d="{pale}"/>')
            lines.append(f'<path class="line" stroke="{color}" d="{line}"/>')
        mark = "dot" if series.sparse else "dash"
        legend.append((mark, color, escape(series.key)))
        numbers.append(_readable(series))
    if panel.ceiling is not None:
        place = axes.up(panel.ceiling)
        lines.append(f'<path class="ceiling" d="M{LEFT} {place:.1f}H{WIDTH - RIGHT}"/>')
        legend.append(("dotted", "#555", f"all actions alike: {panel.ceiling:.3f}"))
    # An inner drawing cuts off what lies beyond the axes, but not half of a point at their end.
    box = (LEFT - POINT, TOP, WIDTH - LEFT - RIGHT + 2 * POINT, HEIGHT - TOP - BOTTOM)
    x, y, width, height = box
    clip = (
        f'<svg x="{x}" y="{y}" width="{width}" height="{height}" '
        f'viewBox="{x} {y} {width} {height}">{"".join(lines)}</svg>'
    )
    hover = {"box": [LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM], "x": axes.x, "y": axes.y}
    read = {**hover, "axis": panel.axis, "series": numbers}
    data = json.dumps(read, allow_nan=False).replace("<", "\\u003c")
    said = "; ".join(_told(series, panel.axis) for series in panel.series)
    return (
        f'<figure class="chart"><figcaption><h3>{escape(panel.title)}</h3>{_legend(legend)}'
        f"</figcaption>{_drawing(axes.frame() + clip, f'{panel.title}. {said}', focus=True)}"
        f'<p class="reading{" long" * (len(numbers) > 1)}" aria-live="polite"></p>'
        f'<script type="application/json">{data}</script></figure>'
    )


def _legend(entries: Sequence[tuple[str, str, str]]) -> str:
    return '<ul class="keys">{}</ul>'.format(
        "".join(
            f'<li><i class="{mark}" style="--color:{color}"></i>{text}</li>'
            for mark, color, text in entries
        )
    )


def _told(series: Series, axis: str) -> str:
    """Say in words what a line shows."""
    first, last = series.line[0], series.line[-1]
    return (
        f"{series.key} from {first:.4g} at {axis} {series.x[0]:.0f} to {last:.4g} at "
        f"{series.x[-1]:.0f}, lowest {series.y.min():.4g}, highest {series.y.max():.4g}"
    )


def _x_range(panel: Panel) -> tuple[float, float]:
    return (
        min(float(series.x[0]) for series in panel.series),
        max(float(series.x[-1]) for series in panel.series),
    )


def _y_range(panel: Panel) -> tuple[float, float]:
    """Range of the numbers; without outliers that would more than double it."""
    every = [series.y for series in panel.series]
    if panel.ceiling is not None:
        every.append(np.array([panel.ceiling]))
    whole = min(map(np.min, every)), max(map(np.max, every))
    inner = [
        np.percentile(y, [OUTLIERS, 100 - OUTLIERS] if len(y) >= LONG else [0, 100]) for y in every
    ]
    most = min(low for low, _ in inner), max(high for _, high in inner)
    low, high = whole if whole[1] - whole[0] <= 2 * (most[1] - most[0]) else most
    room = 0.04 * (high - low)
    return float(low - room), float(high + room)


def _thinned(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Keep the least and the greatest number of each part of a long line, and the last one."""
    if len(x) <= LINE_POINTS:
        return x, y
    kept = {len(x) - 1}
    for part in np.array_split(np.arange(len(x)), LINE_POINTS // 2):
        kept |= {int(part[y[part].argmin()]), int(part[y[part].argmax()])}
    chosen = sorted(kept)
    return x[chosen], y[chosen]


def _readable(series: Series) -> dict[str, object]:
    """Return what the pointer reads of a line: numbers as they are in the log, to six digits."""
    count = len(series.x)
    chosen = np.unique(np.linspace(0, count - 1, min(count, HOVER_POINTS)).round().astype(int))
    return {
        "key": series.key,
        "x": series.x[chosen].tolist(),
        "y": [float(f"{value:.6g}") for value in series.y[chosen]],
    }


def area_chart(shares: Shares, actions: ActionSet, axis: str) -> str:
    """Draw the shares of the actions one above the other; a figure with a table as its legend."""
    axes = _Axes((shares.edges[0], shares.edges[-1]), (0, 1), axis)
    tops = np.concatenate([np.zeros((len(shares.means), 1)), shares.means.cumsum(axis=1)], axis=1)
    x = np.repeat(shares.edges, 2)[1:-1]
    areas, rows = [], []
    palette = colors(actions.names)
    for number, (action, color) in enumerate(zip(actions.actions, palette, strict=True)):
        low, high = (np.repeat(tops[:, number + i], 2) for i in (0, 1))
        outline = axes.path(np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]]))
        areas.append(f'<path class="area" fill="{color}" d="{outline}Z"/>')
        first, last = shares.means[0, number], shares.means[-1, number]
        rows.append(
            f'<tr><th scope="row"><i class="swatch" style="--color:{color}"></i>'
            f"{escape(action.label)}</th><td>{first:.1%}</td><td>{last:.1%}</td></tr>"
        )
    heads = "".join(
        f'<th scope="col">{escape(head)}</th>'
        for head in ("action", *(_episodes(shares, part, axis) for part in (0, -1)))
    )
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows[::-1])}</tbody></table>"
    label = f"Shares of the actions among all choices, by {axis}; numbers in the table."
    drawing = _drawing("".join(areas) + axes.frame(percent=True), label, focus=False)
    return f'<figure class="chart actions"><div>{drawing}</div>{table}</figure>'


def _episodes(shares: Shares, part: int, axis: str) -> str:
    """Name the steps of a part of the shares."""
    starts, ends = shares.edges[:-1] + 0.5, shares.edges[1:] - 0.5
    first, last = f"{starts[part]:,.0f}", f"{ends[part]:,.0f}"
    return f"{axis} {first}" if first == last else f"{axis}s {first}\N{EN DASH}{last}"
