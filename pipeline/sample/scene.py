"""The drawn picture of the sample call: two people, who is talking, and the window counter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

from corpus.pipeline.sample.counter import HEIGHT, WIDTH, draw_blocks, draw_digits
from corpus.pipeline.sample.drawing import Canvas, Colour, above, blank, capsule, ellipse, rounded
from corpus.schemas.clock import US, window_at
from corpus.schemas.conversation import Turn

Picture = npt.NDArray[np.uint8]
MOUTHS = 6
"""How many widths of the mouth are drawn; 0 is closed."""

_PANEL_W, _PANEL_H, _MARGIN = 304, 320, 12
_HEAD_W, _HEAD_H = 220, 250
_BAR_LEFT, _BAR_RIGHT, _BAR_TOP = 132, 372, 352
_BACK: Colour = (22, 25, 31)
_INK: Colour = (40, 32, 34)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Person:
    """How one of the two is drawn."""

    wall: tuple[Colour, Colour]
    """Background at the top and at the bottom."""
    skin: Colour
    shade: Colour
    hair: Colour
    shirt: Colour
    accent: Colour
    """Frame and time line while talking."""
    long_hair: bool
    glasses: bool
    phase: float
    """Turns: sets off blinking and swaying against the other's."""


PEOPLE = (
    _Person(
        wall=((109, 138, 150), (70, 96, 110)),
        skin=(236, 190, 160),
        shade=(214, 160, 130),
        hair=(92, 52, 40),
        shirt=(226, 122, 84),
        accent=(245, 176, 88),
        long_hair=True,
        glasses=False,
        phase=0.0,
    ),
    _Person(
        wall=((214, 180, 146), (176, 134, 108)),
        skin=(164, 112, 84),
        shade=(136, 88, 64),
        hair=(34, 28, 32),
        shirt=(72, 128, 124),
        accent=(104, 204, 190),
        long_hair=False,
        glasses=True,
        phase=0.37,
    ),
)


def draw_scene(time_us: int, turns: Sequence[Turn], loudness: float, duration_us: int) -> Picture:
    """The picture presented at `time_us`, RGB (HEIGHT, WIDTH, 3).

    The first two speakers of `turns` are the people; a mouth is open only while its speaker has a turn,
    and then as wide as `loudness`, in [0, 1], says.
    """
    # The still parts are drawn once and copied.
    picture = _stage(tuple(turns), duration_us).copy()
    for place, (speaker, person) in enumerate(zip(_speakers(turns), PEOPLE, strict=False)):
        talks = any(t.speaker == speaker and time_us in t.span for t in turns)
        mouth = 1 + round((MOUTHS - 2) * loudness) if talks else 0
        left = _MARGIN + place * (_PANEL_W + _MARGIN - 4)
        _draw_person(picture, place, person, left, time_us / US, mouth)
    _draw_time(picture, time_us, duration_us)
    return picture


def _speakers(turns: Sequence[Turn]) -> list[str]:
    return list(dict.fromkeys(t.speaker for t in turns))


@lru_cache(maxsize=1)
def _stage(turns: tuple[Turn, ...], duration_us: int) -> Picture:
    """Everything that does not move."""
    picture: Picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:] = _BACK
    canvas = blank(WIDTH, HEIGHT)
    for row, (speaker, person) in enumerate(zip(_speakers(turns), PEOPLE, strict=False)):
        y = _BAR_TOP + 6 + row * 13
        canvas.paint(capsule(canvas, _BAR_LEFT, y, _BAR_RIGHT, y, 1.2), (58, 64, 74))
        for turn in turns:
            if turn.speaker == speaker:
                x0, x1 = _bar_x(turn.start_us, duration_us), _bar_x(turn.stop_us, duration_us)
                canvas.paint(rounded(canvas, x0, y - 4, x1, y + 4, 2), person.accent)
    canvas.over(picture, 0, 0)
    return picture


def _bar_x(time_us: int, duration_us: int) -> float:
    return _BAR_LEFT + (_BAR_RIGHT - _BAR_LEFT) * time_us / duration_us


def _draw_time(picture: Picture, time_us: int, duration_us: int) -> None:
    window = window_at(time_us)
    digits = blank(112, 36)
    draw_digits(digits, window, 6, 6, 22)
    digits.over(picture, _MARGIN, _BAR_TOP - 5)
    draw_blocks(picture, window)
    head = blank(12, 40)
    head.paint(capsule(head, 6, 4, 6, 35, 1.0), (250, 248, 242))
    head.over(picture, round(_bar_x(time_us, duration_us)) - 6, _BAR_TOP - 8)


def _draw_person(picture: Picture, place: int, person: _Person, left: int, time_s: float, mouth: int) -> None:
    turn_s = time_s + person.phase * 7
    sway = 1.6 * math.sin(turn_s * 1.4) + (1.8 * math.sin(turn_s * 7.0) if mouth else 0.0)
    # A phase of its own keeps the two from blinking together.
    blink = turn_s % 3.7 < 0.13
    panel = _panel(place).copy()
    head_left, head_top = (_PANEL_W - _HEAD_W) // 2, 26 + round(sway)
    _head(place, mouth, blink).over(panel, head_left, head_top)
    inside, ring = _frame(bool(mouth))
    area = picture[_MARGIN : _MARGIN + _PANEL_H, left : left + _PANEL_W]
    area[:] = np.rint(area * (1 - inside) + panel * inside).astype(np.uint8)
    if mouth:
        area[:] = np.rint(area * (1 - ring) + np.array(person.accent) * ring).astype(np.uint8)


@lru_cache(maxsize=2)
def _frame(talking: bool) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Coverage of the panel with its round corners, and of the line around it while talking."""
    canvas = blank(_PANEL_W, _PANEL_H)
    edge = rounded(canvas, 1, 1, _PANEL_W - 1, _PANEL_H - 1, 16)
    inside = np.clip(np.float32(0.5) - edge, 0, 1)[:, :, None]
    ring = np.clip(np.float32(0.5) - np.maximum(edge, -edge - 4), 0, 1)[:, :, None]
    return inside, ring if talking else np.zeros_like(ring)


@lru_cache(maxsize=2)
def _panel(place: int) -> Picture:
    """The wall and the shoulders."""
    person = PEOPLE[place]
    canvas = blank(_PANEL_W, _PANEL_H)
    down = np.linspace(0, 1, _PANEL_H, dtype=np.float32)[:, None, None]
    top, bottom = (np.array(c, np.float32) for c in person.wall)
    canvas.colour[:] = top + (bottom - top) * down
    canvas.opacity[:] = 1
    light = ellipse(canvas, _PANEL_W * 0.5, 120, 128, 128)
    canvas.paint(light, (255, 250, 240), 0.10)
    middle = _PANEL_W / 2
    if person.long_hair:
        canvas.paint(rounded(canvas, middle - 76, 90, middle + 76, 258, 60), person.hair)
    canvas.paint(rounded(canvas, middle - 106, 252, middle + 106, 460, 58), person.shirt)
    canvas.paint(rounded(canvas, middle - 24, 196, middle + 24, 276, 22), person.shade)
    collar = np.maximum(ellipse(canvas, middle, 254, 40, 24), -above(canvas, 254))
    canvas.paint(collar, person.shade)
    return np.rint(canvas.colour).astype(np.uint8)


@cache
def _head(place: int, mouth: int, blink: bool) -> Canvas:
    person = PEOPLE[place]
    canvas = blank(_HEAD_W, _HEAD_H)
    x, y = _HEAD_W / 2, 122.0
    for side in (-1, 1):
        canvas.paint(ellipse(canvas, x + side * 66, y + 8, 12, 17), person.shade)
    canvas.paint(rounded(canvas, x - 66, y - 78, x + 66, y + 88, 64), person.skin)
    _draw_hair(canvas, person, x, y)
    _draw_eyes(canvas, person, x, y, blink)
    nose = np.maximum(ellipse(canvas, x, y + 24, 9, 8), -above(canvas, y + 24))
    canvas.paint(nose, person.shade)
    for side in (-1, 1):
        canvas.paint(ellipse(canvas, x + side * 42, y + 36, 13, 9), (230, 110, 90), 0.16)
    _draw_mouth(canvas, x, y + 52, mouth)
    _draw_headset(canvas, person, x, y)
    return canvas


def _draw_hair(canvas: Canvas, person: _Person, x: float, y: float) -> None:
    cap = rounded(canvas, x - 72, y - 90, x + 72, y + 92, 70)
    if person.long_hair:
        forehead = ellipse(canvas, x + 12, y + 30, 66, 76)
        canvas.paint(np.maximum(np.maximum(cap, -forehead), above(canvas, y + 30)), person.hair)
    else:
        forehead = ellipse(canvas, x, y + 24, 74, 72)
        canvas.paint(np.maximum(np.maximum(cap, -forehead), above(canvas, y - 8)), person.hair)


def _draw_eyes(canvas: Canvas, person: _Person, x: float, y: float, blink: bool) -> None:
    for side in (-1, 1):
        eye = x + side * 28
        brow, slant = y - 23, 1.6 * side
        canvas.paint(capsule(canvas, eye - 10, brow - slant, eye + 10, brow + slant, 2.4), person.hair)
        if blink:
            canvas.paint(capsule(canvas, eye - 8, y, eye + 8, y, 1.6), _INK)
        else:
            canvas.paint(ellipse(canvas, eye, y, 10.5, 9), (250, 247, 242))
            canvas.paint(ellipse(canvas, eye - 1.5 * side, y + 0.5, 5.4, 5.8), _INK)
            canvas.paint(ellipse(canvas, eye - 1.5 * side + 1.8, y - 1.6, 1.7, 1.7), (255, 255, 255))
        if person.glasses:
            lens = rounded(canvas, eye - 20, y - 16, eye + 20, y + 17, 14)
            canvas.paint(np.asarray(np.abs(lens) - 1.7, np.float32), (30, 30, 36))
    if person.glasses:
        canvas.paint(capsule(canvas, x - 8, y - 2, x + 8, y - 2, 1.6), (30, 30, 36))


def _draw_mouth(canvas: Canvas, x: float, y: float, mouth: int) -> None:
    if mouth == 0:
        smile = np.maximum(np.abs(ellipse(canvas, x, y - 12, 22, 16)) - 1.8, -above(canvas, y - 3))
        canvas.paint(smile, (120, 54, 50))
        return
    down = 3.0 + 3.4 * mouth
    across = 21.0 - 1.2 * mouth
    opening = ellipse(canvas, x, y, across, down)
    canvas.paint(opening - 2.4, (176, 84, 76))
    canvas.paint(opening, (84, 26, 30))
    teeth = np.maximum(np.maximum(opening, above(canvas, y - down * 0.5)), -above(canvas, y - down))
    canvas.paint(teeth, (246, 242, 236))
    tongue = np.maximum(opening, ellipse(canvas, x, y + down, across * 0.7, down * 0.7))
    canvas.paint(tongue, (206, 98, 96))


def _draw_headset(canvas: Canvas, person: _Person, x: float, y: float) -> None:
    band = np.abs(rounded(canvas, x - 75, y - 94, x + 75, y + 110, 74)) - 3.2
    canvas.paint(np.maximum(band, above(canvas, y - 4)), (44, 46, 54))
    for side in (-1, 1):
        canvas.paint(
            rounded(canvas, x + side * 76 - 11, y - 16, x + side * 76 + 11, y + 34, 10), (44, 46, 54)
        )
    canvas.paint(capsule(canvas, x + 74, y + 30, x + 58, y + 62, 2.2), (44, 46, 54))
    canvas.paint(capsule(canvas, x + 58, y + 62, x + 36, y + 66, 2.2), (44, 46, 54))
    canvas.paint(ellipse(canvas, x + 34, y + 66, 6.5, 4.6), person.accent)
