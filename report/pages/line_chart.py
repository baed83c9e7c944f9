"""Line charts as inline SVG: few points, round ticks, and each curve's name and last value at its end."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

POINTS = 240
_WIDTH, _HEIGHT = 560, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 142, 10, 24
_LABEL_GAP = 15
_COLOURS = 6

_Number = float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    label: str
    values: Sequence[_Number]
    """One value per line; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    title: str
    explained: str
    curves: tuple[Curve, ...]
    scale: Literal["log", "linear"]
    floor: float | None = None
    """Where a linear scale begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """From values to pixels."""

    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        return (value - low) / (high - low)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - self.share(value) * (_HEIGHT - _TOP - _BOTTOM)

    def ticks(self) -> list[float]:
        if not self.log:
            return _round_steps(self.low, self.high)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for factors in ((1,), (1, 3), (1, 2, 5)):
            every = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
            shown = [value for value in every if self.low <= value <= self.high]
            if len(shown) >= 4:
                return shown
        return _round_steps(self.low, self.high)


def _axis(panel: Panel, values: Iterable[float]) -> _Axis:
    known = list(values)
    low, high = min(known), max(known)
    if panel.scale == "log":
        return _Axis(low=low / 1.15, high=high * 1.15, log=True)
    low = low if panel.floor is None else min(low, panel.floor)
    return _Axis(low=low, high=high + 0.06 * ((high - low) or 1.0), log=False)


def _round_steps(low: float, high: float) -> list[float]:
    """Three to six round numbers."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def figure(panel: Panel, steps: Sequence[int]) -> str:
    cuts = _cuts(len(steps))
    at = [steps[stop - 1] for _, stop in cuts]
    curves = [(curve.label, _means(curve.values, cuts, panel.scale)) for curve in panel.curves]
    axis = _axis(panel, (value for _, values in curves for value in values if value is not None))
    across = _Axis(low=0, high=max(at[-1], 1), log=False)

    def x(step: float) -> float:
        return _LEFT + across.share(step) * (_WIDTH - _LEFT - _RIGHT)

    parts = [_grid(axis.y(tick), _shown(tick)) for tick in axis.ticks()]
    parts += [_step(x(step), _shown(step)) for step in _round_steps(across.low, across.high)]
    ends = []
    for number, (label, values) in enumerate(curves):
        look = _look(number, len(curves))
        points = [(x(step), axis.y(v)) if v is not None else None for step, v in zip(at, values, strict=True)]
        parts.append(f'<path {look} d="{_path(points)}"/>')
        last = next(v for v in reversed(values) if v is not None)
        ends.append((axis.y(last), look, f"{label}: {_shown(last)}"))
    parts += _labels(ends)
    explained = f" <small>{html.escape(panel.explained)}</small>" if panel.explained else ""
    return (
        f"<figure><figcaption>{html.escape(panel.title)}{explained}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{html.escape(panel.title)}</title>'
        f"{''.join(parts)}</svg></figure>"
    )


def _look(number: int, of: int) -> str:
    """A colour each; of more than there are, one colour that grows stronger from the first to the last."""
    if of <= _COLOURS:
        return f'class="c{number}"'
    return f'class="c0" opacity="{0.35 + 0.65 * number / (of - 1):.2f}"'


def _cuts(lines: int) -> list[tuple[int, int]]:
    """Parts of the log as equal as can be, one for each point."""
    points = min(lines, POINTS)
    return [(n * lines // points, (n + 1) * lines // points) for n in range(points)]


def drawable(value: _Number, scale: str) -> bool:
    return value is not None and (scale == "linear" or value > 0)


def _means(values: Sequence[_Number], cuts: Sequence[tuple[int, int]], scale: str) -> list[_Number]:
    means: list[_Number] = []
    for start, stop in cuts:
        some = [v for v in values[start:stop] if v is not None and drawable(v, scale)]
        means.append(sum(some) / len(some) if some else None)
    return means


def _step(x: float, shown: str) -> str:
    return f'<text class="t" x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{shown}</text>'


def _grid(y: float, shown: str) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="t" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>'
    )


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Straight lines; gaps where there is nothing. A point alone is a dot."""
    strokes, pen = [], False
    for n, point in enumerate(points):
        if point is not None:
            strokes.append(f"{'L' if pen else 'M'}{point[0]:.1f} {point[1]:.1f}")
            if not pen and (n + 1 == len(points) or points[n + 1] is None):
                strokes.append("h.1")
        pen = point is not None
    return "".join(strokes)


def _labels(ends: Sequence[tuple[float, str, str]]) -> list[str]:
    """At the curves' ends, pushed apart; of more than fit, the outermost and as many between."""
    room = (_HEIGHT - _TOP - _BOTTOM) // _LABEL_GAP
    rows = sorted(ends)
    if len(rows) > room:
        rows = [rows[n * (len(rows) - 1) // (room - 1)] for n in range(room)]
    wanted = [y for y, _, _ in rows]
    for n in range(1, len(wanted)):
        wanted[n] = max(wanted[n], wanted[n - 1] + _LABEL_GAP)
    for n in range(len(wanted) - 1, -1, -1):
        most = _HEIGHT - _BOTTOM if n + 1 == len(wanted) else wanted[n + 1] - _LABEL_GAP
        wanted[n] = min(wanted[n], most)
    x = _WIDTH - _RIGHT + 8
    return [
        f'<text {look} x="{x}" y="{y + 4:.1f}">{html.escape(shown)}</text>'
        for y, (_, look, shown) in zip(wanted, rows, strict=True)
    ]


def _shown(value: float) -> str:
    """Three digits; thousands as k, small numbers with a power: 3e-4."""
    if abs(value) >= 10_000:
        return f"{value / 1000:.4g}k"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    if 0 < abs(value) < 0.001:
        digits, power = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    return f"{value:.3g}"


STYLE = """
:root{--ink:#222;--soft:#6b6b6b;--line:#e4e4e0;--paper:#fcfcfa;
--k0:#17708f;--k1:#b8501a;--k2:#4d7a23;--k3:#8a4a9c;--k4:#a3741a;--k5:#3557a8}
@media(prefers-color-scheme:dark){:root{--ink:#e8e6e1;--soft:#9a958b;--line:#33322f;--paper:#191917;
--k0:#58b4d4;--k1:#f0935a;--k2:#97c765;--k3:#c995dc;--k4:#e0b35a;--k5:#8fadf5}}
body{margin:32px auto;max-width:1180px;padding:0 24px;color:var(--ink);background:var(--paper);
font:15px/1.4 system-ui,sans-serif}
h1{font-size:24px;margin:0}p{color:var(--soft);margin:4px 0 24px}
main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr));gap:28px 40px}
figure{margin:0}figcaption{font-weight:600;margin-bottom:6px}small{font-weight:400;color:var(--soft);margin-left:8px}
svg{width:100%;height:auto;font-size:12px;font-variant-numeric:tabular-nums}
path{fill:none;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}
line{stroke:var(--line)}.t{fill:var(--soft)}
""" + "".join(f"path.c{n}{{stroke:var(--k{n})}}text.c{n}{{fill:var(--k{n})}}" for n in range(_COLOURS))
