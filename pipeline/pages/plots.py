"""Plots as SVG text: bars and a histogram. Each has a title for those who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corpus.pipeline.pages.html import text, whole
from corpus.pipeline.stats import FloorStats, OffsetBar

WIDTH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A horizontal bar."""

    label: str
    value: float
    shown: str
    colour: int
    """Which of the seven speaker colours."""
    heading: str = ""
    """A line above the bar where a group begins."""


def bars(rows: Sequence[Bar], *, title: str, label_width: int = 190) -> str:
    """Horizontal bars on one scale, the longest as long as there is room."""
    top, marks = 0.0, []
    longest = max((row.value for row in rows), default=0.0) or 1.0
    room = WIDTH - label_width - 130
    for row in rows:
        if row.heading:
            top += 24 if top else 14
            marks.append(
                f'<text class="label" x="0" y="{top:.0f}" font-weight="600">{text(row.heading)}</text>'
            )
            top += 8
        wide = max(row.value / longest * room, 1.5)
        marks.append(
            f'<text class="label" x="{label_width - 12}" y="{top + 14:.0f}" text-anchor="end">{text(row.label)}</text>'
            f'<rect class="track" x="{label_width}" y="{top + 3:.0f}" width="{room}" height="14" rx="3"/>'
            f'<rect x="{label_width}" y="{top + 3:.0f}" width="{wide:.1f}" height="14" rx="3" fill="var(--s{row.colour % 7})"/>'
            f'<text x="{label_width + room + 10}" y="{top + 14:.0f}">{text(row.shown)}</text>'
        )
        top += 23
    return _svg(title, top + 4, "".join(marks))


def offsets(floor: FloorStats) -> str:
    """Histogram of the floor-transfer offsets: overlaps to the left of zero, gaps to the right."""
    shown = floor.offset_bars
    high = max((bar.count for bar in shown), default=0) or 1
    base, tall, left, right = 236, 196, 44, WIDTH - 12
    first, last = shown[0].start_us, shown[-1].stop_us
    per_us = (right - left) / (last - first)

    def x(us: int) -> float:
        return left + (us - first) * per_us

    marks = []
    for step in _steps(high):
        y = base - tall * step / high
        marks.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{whole(step)}</text>')
    marks += [_column(bar, x(bar.start_us), x(bar.stop_us), base, tall * bar.count / high) for bar in shown]
    for us in range(first, last + 1, 500_000):
        end = (
            "\N{GREATER-THAN OR EQUAL TO}"
            if us == last
            else "\N{LESS-THAN OR EQUAL TO}"
            if us == first
            else ""
        )
        name = f"{end}{us / 1e6:.1f} s".replace("-", "\N{MINUS SIGN}")
        marks.append(f'<line class="axis" x1="{x(us):.1f}" x2="{x(us):.1f}" y1="{base}" y2="{base + 5}"/>')
        anchor = "end" if us == last else "start" if us == first else "middle"
        marks.append(f'<text x="{x(us):.1f}" y="{base + 20}" text-anchor="{anchor}">{name}</text>')
    marks.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{base}" y2="{base}"/>')
    marks.append(f'<line class="axis" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="24" y2="{base}"/>')
    marks.append(
        f'<text x="{x(0) - 10:.1f}" y="18" text-anchor="end">overlap: the next speaker starts early</text>'
        f'<text x="{x(0) + 10:.1f}" y="18">gap: silence before the next speaker</text>'
    )
    return _svg("Histogram of floor-transfer offsets", base + 30, "".join(marks))


def _column(bar: OffsetBar, left: float, right: float, base: float, tall: float) -> str:
    if not bar.count:
        return ""
    kind = "warm" if bar.start_us < 0 else "cool"
    said = f"{bar.start_us // 1000} to {bar.stop_us // 1000} ms: {bar.count}"
    return (
        f'<rect class="{kind}" x="{left + 1:.1f}" y="{base - tall:.1f}" width="{right - left - 2:.1f}" '
        f'height="{tall:.1f}" rx="1.5"><title>{said}</title></rect>'
    )


def _steps(high: int) -> list[int]:
    """Round numbers for a scale from nothing to `high`, at most five of them."""
    size = 1
    while high / size > 5:
        size = size * 2 if str(size)[0] == "1" else size * 5 // 2 if str(size)[0] == "2" else size * 2
    return list(range(size, high + 1, size))


def _svg(title: str, height: float, marks: str) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{text(title)}">'
        f"<title>{text(title)}</title>{marks}</svg>"
    )
