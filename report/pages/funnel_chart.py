"""A funnel as bars: what was given, each loss at the point where it occurs, what was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corpus.report.pages.charts import drawing, shortened
from corpus.report.pages.markup import Markup, el

_WIDTH, _LABEL, _VALUE = 1000, 300, 120
_STEP = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One loss along the way."""

    label: str
    size: int
    shown: str
    hint: str = ""


def funnel_bars(title: str, given: Cut, cuts: Sequence[Cut], kept: Cut) -> Markup:
    """The given total on top, then each loss as the part cut off the end of the rest, then what was kept."""
    whole = max(1, given.size)
    room = _WIDTH - _LABEL - _VALUE
    rows = [_row(0, given, 0.0, room * given.size / whole, "none")]
    left = given.size
    for place, cut in enumerate(cuts, start=1):
        left -= cut.size
        rows.append(_row(place, cut, room * left / whole, room * cut.size / whole, "many"))
    rows.append(_row(len(cuts) + 1, kept, 0.0, room * kept.size / whole, "one"))
    return drawing(title, _WIDTH, len(rows) * _STEP, *rows)


def _row(place: int, cut: Cut, start: float, length: float, tone: str) -> Markup:
    middle = place * _STEP + _STEP / 2
    drawn = max(1.5, length)
    return el(
        "g",
        el("title", f"{cut.hint or cut.label}: {cut.shown}"),
        el("text", shortened(cut.label, _LABEL // 8), x=0, y=middle + 4),
        el("rect", x=_LABEL + start, y=middle - 8, width=drawn, height=16, rx=2, class_=tone),
        el("text", cut.shown, x=_LABEL + start + drawn + 8, y=middle + 4, class_="soft"),
    )
