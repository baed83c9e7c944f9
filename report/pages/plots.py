"""Plots with axes for pages of measurements: grouped bars, a reliability diagram, lines over a range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corpus.report.pages.charts import drawing
from corpus.report.pages.markup import Markup, el, join

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 520, 320, 44, 274, 14
_RIGHT = 12
_MOST_TICKS = 9
STYLE = (
    "svg .grid { stroke: var(--line); stroke-width: 1; } svg .ideal { stroke: var(--soft); stroke-width: 1;"
    " stroke-dasharray: 4 4; } svg .curve { stroke-width: 2; } svg .curve.one { fill: none;"
    " stroke: var(--one); } svg .curve.many { stroke: var(--many); fill: none; }"
    " .curves path { fill: none; stroke-width: 1.6; stroke: var(--one); }"
    " .curves line { stroke: var(--line); } .curves .t { fill: var(--soft); }"
    " .key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 5px 0 12px; }"
    " .key.one { background: var(--one); } .key.many { background: var(--many); }"
)
"""Styles that a page with these plots needs besides page.css."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """One group's bars, from the left."""

    tone: str
    """`one` or `many`: the page's two colours."""
    heights: Sequence[float]
    hints: Sequence[str]
    """Tooltips of the bars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point of a plot; x and y as shares of the axes, in [0, 1]."""

    x: float
    y: float
    area: float = 0.0
    """The dot's area, as a share of the largest one's."""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The points of one curve, from the left."""

    tone: str
    points: Sequence[Point]


def grouped_bars(title: str, groups: Sequence[Bars], ticks: Sequence[str], x_name: str) -> Markup:
    """Bars of several groups side by side; the highest fills the plot. At most ten ticks are shown."""
    highest = max((max(group.heights, default=0.0) for group in groups), default=0.0) or 1.0
    step = (_WIDTH - _LEFT) / max(1, len(ticks))
    drawn = []
    for number, group in enumerate(groups):
        for place, (value, hint) in enumerate(zip(group.heights, group.hints, strict=True)):
            height = (_BOTTOM - _TOP) * value / highest
            # Two groups share a place: 0.4 of it each, with a tenth of space on either side.
            x = _LEFT + step * (place + 0.1 + 0.4 * number)
            bar = el("rect", x=x, y=_BOTTOM - height, width=step * 0.38, height=height, class_=group.tone)
            drawn.append(el("g", el("title", hint), bar))
    labels = [
        _tick(ticks[place], _LEFT + step * (place + 0.5))
        for place in range(0, len(ticks), 1 + len(ticks) // _MOST_TICKS)
    ]
    frame = (
        el("line", x1=_LEFT, x2=_WIDTH, y1=_BOTTOM, y2=_BOTTOM, class_="axis"),
        el("text", f"{highest:.0%}", x=0, y=_TOP + 8, class_="soft"),
        _axis_name(x_name),
    )
    return drawing(title, _WIDTH, _HEIGHT, *drawn, *labels, *frame)


def reliability(title: str, series: Sequence[Series], x_name: str) -> Markup:
    """Dots on two axes from 0 to 1, with the diagonal on which they should lie."""
    parts = [el("line", x1=_x(0), y1=_y(0), x2=_x(1), y2=_y(1), class_="ideal")]
    for one in series:
        parts.append(_curve(one))
        for point in one.points:
            # A dot's area, not its radius, is what the eye compares; 2.5 keeps the smallest one visible.
            radius = 2.5 + 12 * point.area**0.5
            dot = el("circle", cx=_x(point.x), cy=_y(point.y), r=radius, class_=one.tone, fill_opacity=0.55)
            parts.append(el("g", el("title", point.hint), dot))
    return drawing(title, _WIDTH, _HEIGHT, *_axes(x_name), *parts)


def lines(
    title: str, series: Sequence[Series], x_name: str, x_ticks: Sequence[str], highest: float
) -> Markup:
    """Curves with a dot at each point; the y axis runs from 0 to `highest`."""
    parts = []
    for one in series:
        parts.append(_curve(one))
        parts += [el("circle", cx=_x(p.x), cy=_y(p.y), r=3, class_=one.tone) for p in one.points]
    return drawing(title, _WIDTH, _HEIGHT, *_axes(x_name, x_ticks, highest), *parts)


def captioned(title: str, content: Markup, caption: str, *, key: Sequence[tuple[str, str]] = ()) -> Markup:
    """A figure with its title, a caption and a key of (tone, name)."""
    names = join(
        join((el("span", class_=f"key {tone}"), el("span", name, class_="note"))) for tone, name in key
    )
    return el("figure", el("h3", title, names), content, el("figcaption", caption))


def _curve(series: Series) -> Markup:
    points = " ".join(f"{_x(point.x):.1f},{_y(point.y):.1f}" for point in series.points)
    return el("polyline", points=points, class_=f"curve {series.tone}")


def _axes(
    x_name: str, x_ticks: Sequence[str] = ("0", "0.25", "0.5", "0.75", "1"), highest: float = 1.0
) -> list[Markup]:
    """A grid as fine as the ticks, and labels on both axes."""
    parts = []
    for place, tick in enumerate(x_ticks):
        share = place / (len(x_ticks) - 1)
        x, y = _x(share), _y(share)
        parts += [
            el("line", x1=x, x2=x, y1=_TOP, y2=_BOTTOM, class_="grid"),
            el("line", x1=_LEFT, x2=_WIDTH, y1=y, y2=y, class_="grid"),
            _tick(tick, x),
            el("text", f"{share * highest:.3g}", x=_LEFT - 8, y=y + 4, text_anchor="end", class_="soft"),
        ]
    return [*parts, _axis_name(x_name)]


def _tick(text: str, x: float) -> Markup:
    return el("text", text, x=x, y=_BOTTOM + 18, text_anchor="middle", class_="soft")


def _axis_name(name: str) -> Markup:
    return el("text", name, x=_WIDTH, y=_HEIGHT - 8, text_anchor="end", class_="soft")


def _x(share: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share


def _y(share: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * share
