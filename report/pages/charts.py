"""Handwritten charts as inline SVG, coloured by the page and readable by screen readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corpus.report.pages.markup import Attribute, Markup, el, join
from corpus.report.spread import Offsets

_WIDTH = 1000
_HEIGHT = 260


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of a bar chart."""

    label: str
    value: float
    shown: str
    """The value as written after the bar."""
    hint: str = ""
    """Tooltip: the whole label if it was shortened, and more."""
    tone: str = "one"


def drawing(title: str, width: int, height: int, *content: str, **attributes: Attribute) -> Markup:
    """An SVG that a screen reader announces by its title."""
    box = f"0 0 {width} {height}"
    return el("svg", el("title", title), *content, viewBox=box, role="img", **attributes)


def bars(title: str, rows: Sequence[Bar], *, label_width: int = 224, width: int = 520) -> Markup:
    """Horizontal bars, the longest filling the width, with labels on the left and values after the bars."""
    step, most = 26, max((row.value for row in rows), default=0.0)
    room = width - label_width - 64
    parts = []
    for place, row in enumerate(rows):
        middle = place * step + step / 2
        length = max(1.5, room * row.value / most) if most else 0.0
        parts += [
            el(
                "g",
                el("title", f"{row.hint or row.label}: {row.shown}"),
                el("text", shortened(row.label, label_width // 8), x=0, y=middle + 4),
                el("rect", x=label_width, y=middle - 7, width=length, height=14, rx=2, class_=row.tone),
                el("text", row.shown, x=label_width + length + 8, y=middle + 4, class_="soft"),
            )
        ]
    return drawing(title, width, max(1, len(rows)) * step, *parts)


def shortened(label: str, longest: int) -> str:
    """The label, with its middle left out if it is too long: names often differ at the end."""
    if len(label) <= longest:
        return label
    left = longest // 2
    return f"{label[:left]}…{label[-(longest - left - 1) :]}"


def strip(title: str, parts: Sequence[tuple[str, str, int]]) -> Markup:
    """One bar that represents a whole, from tones, names and sizes; put a key with the shares below it."""
    whole = sum(size for _, _, size in parts) or 1
    drawn, left = [], 0.0
    for tone, name, size in parts:
        width = _WIDTH * size / whole
        bar = el("rect", x=left, y=0, width=max(0.0, width - 2), height=26, class_=tone)
        drawn.append(el("g", el("title", f"{name}: {size / whole:.1%}"), bar))
        left += width
    return drawing(title, _WIDTH, 26, *drawn, class_="strip", preserveAspectRatio="none")


def offset_histogram(offsets: Offsets) -> Markup:
    """Floor-transfer offsets: overlaps left of zero, gaps right of it; the outer bars hold the rest."""
    counts = (offsets.below, *offsets.counts, offsets.above)
    most = max(counts) or 1
    bottom, top = _HEIGHT - 46, 20
    step = _WIDTH / len(counts)
    zero = 1 + (0 - offsets.start_us) // offsets.bin_us

    def x_of(us: int) -> float:
        return step * (1 + (us - offsets.start_us) / offsets.bin_us)

    drawn = []
    for place, count in enumerate(counts):
        height = (bottom - top) * count / most
        drawn.append(
            el(
                "g",
                el("title", f"{_bin_name(offsets, place)}: {count:,}"),
                el("rect", x=place * step, y=top, width=step, height=bottom - top, fill="transparent"),
                el(
                    "rect",
                    x=place * step + 1,
                    y=bottom - height,
                    width=step - 2,
                    height=height,
                    class_="many" if place < zero else "one",
                ),
            )
        )
    ticks = [_tick(x_of(us), us, bottom) for us in range(offsets.start_us, -offsets.start_us + 1, 500_000)]
    frame = (
        el("line", x1=0, x2=_WIDTH, y1=bottom, y2=bottom, class_="axis"),
        el("line", x1=x_of(0), x2=x_of(0), y1=top - 12, y2=bottom, class_="zero"),
        el("text", f"{most:,}", x=0, y=top - 8, class_="soft"),
        el("text", "← both talk", x=x_of(0) - 10, y=top - 8, text_anchor="end", class_="soft"),
        el("text", "nobody talks →", x=x_of(0) + 10, y=top - 8, class_="soft"),
        el("text", "seconds", x=_WIDTH, y=_HEIGHT - 8, text_anchor="end", class_="soft"),
    )
    return drawing("Histogram of floor-transfer offsets", _WIDTH, _HEIGHT, *drawn, *ticks, *frame)


def _tick(x: float, us: int, bottom: float) -> Markup:
    label = f"{us / 1e6:g}".replace("-", "\N{MINUS SIGN}")
    return join(
        (
            el("line", x1=x, x2=x, y1=bottom, y2=bottom + 5, class_="axis"),
            el("text", label, x=x, y=bottom + 20, text_anchor="middle", class_="soft"),
        )
    )


def _bin_name(offsets: Offsets, place: int) -> str:
    if place == 0:
        return f"below {offsets.start_us / 1e6:g} s"
    if place == len(offsets.counts) + 1:
        return f"from {-offsets.start_us / 1e6:g} s up"
    start_us = offsets.start_us + (place - 1) * offsets.bin_us
    return f"{start_us / 1e6:g} to {(start_us + offsets.bin_us) / 1e6:g} s"
