"""The drawn picture of the sample call: two people, who is talking, and the window it belongs to.

The window is shown in digits for people and as a row of 16 blocks for machines, 14 by 24 pixels each from
(398, 352): white, black, the number in 12 bits with the high one first, their parity, white.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from corpus.schemas.clock import US, window_at
from corpus.schemas.conversation import Turn

WIDTH, HEIGHT = 640, 400
_FINER = 3
"""Shapes are drawn this many times larger and reduced, which softens their edges."""
_PANEL = (304, 320)
_BAR_LEFT, _BAR_RIGHT = 132, 372
_UPPER, _LOWER = (180, 360), (0, 180)
_INK, _HEADSET = "#282022", "#2c2e36"


class _Person(NamedTuple):
    wall: str
    skin: str
    shade: str
    hair: str
    shirt: str
    accent: str  # frame and time line while talking
    long_hair: bool


PEOPLE = (
    _Person("#5a7887", "#ecbea0", "#d6a082", "#5c3428", "#e27a54", "#f5b058", True),
    _Person("#c49f7e", "#a47054", "#885840", "#221c20", "#48807c", "#68ccbe", False),
)


def draw_scene(time_us: int, turns: tuple[Turn, ...], loudness: float, duration_us: int) -> Image.Image:
    """The picture presented at `time_us`, RGB, WIDTH by HEIGHT pixels.

    The first two speakers of `turns` are the people; a mouth is open only while its speaker has a turn,
    and then as wide as `loudness`, in [0, 1], says.
    """
    picture = _time_lines(turns, duration_us).copy()
    for number, speaker in enumerate(_speakers(turns)):
        talks = any(turn.speaker == speaker and time_us in turn.span for turn in turns)
        mouth = 1 + round(4 * loudness) if talks else 0
        # A phase of its own keeps the two from swaying and blinking together.
        own_s = time_us / US + 2.6 * number
        sway = 1.6 * math.sin(own_s * 1.4) + (1.8 * math.sin(own_s * 7.0) if mouth else 0.0)
        person = _person(number, mouth, own_s % 3.7 < 0.13, round(sway))
        picture.paste(person, (12 + number * 312, 12), person)
    _Pen(picture, 1).box(_bar_x(time_us, duration_us), 363.5, 1.5, 15, "#fafaf2")
    _write_window(picture, window_at(time_us))
    return picture


def _speakers(turns: Sequence[Turn]) -> list[str]:
    return list(dict.fromkeys(turn.speaker for turn in turns))[: len(PEOPLE)]


@cache
def _time_lines(turns: tuple[Turn, ...], duration_us: int) -> Image.Image:
    """The static part: a line for each speaker with the turns on it."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "#16191f")
    pen = _Pen(picture, 1)
    for row, speaker in enumerate(_speakers(turns)):
        y = 358 + row * 13
        pen.line(_BAR_LEFT, y, _BAR_RIGHT, y, colour="#3a404a", width=2)
        for turn in turns:
            if turn.speaker == speaker:
                left, right = (_bar_x(at_us, duration_us) for at_us in (turn.start_us, turn.stop_us))
                pen.box((left + right) / 2, y, (right - left) / 2, 4, PEOPLE[row].accent, 2)
    return picture


def _bar_x(time_us: int, duration_us: int) -> float:
    return _BAR_LEFT + (_BAR_RIGHT - _BAR_LEFT) * time_us / duration_us


def _write_window(picture: Image.Image, window: int) -> None:
    draw = ImageDraw.Draw(picture)
    draw.text((18, 350), f"{window:04d}", "#f0ece2", ImageFont.load_default(30))
    bits = [window >> bit & 1 for bit in reversed(range(12))]
    for cell, white in enumerate((1, 0, *bits, sum(bits) % 2, 1)):
        left = 398 + cell * 14
        draw.rectangle((left, 352, left + 13, 375), "#ececec" if white else "#0c0c0c")


class _Pen:
    """Draws shapes in pixel coordinates of the finished picture; edges may lie between pixels."""

    def __init__(self, picture: Image.Image, finer: int = _FINER) -> None:
        self.draw, self.finer = ImageDraw.Draw(picture), finer

    def box(self, x: float, y: float, across: float, down: float, colour: str, radius: float = 0) -> None:
        """`across` and `down` from the middle to the edges."""
        self.draw.rounded_rectangle(self._around(x, y, across, down), radius * self.finer, colour)

    def oval(
        self, x: float, y: float, across: float, down: float, colour: str, part: tuple[int, int] = (0, 360)
    ) -> None:
        """`part`: from one angle to another, clockwise from three o'clock; cut off straight."""
        self.draw.chord(self._around(x, y, across, down), *part, colour)

    def arc(self, x: float, y: float, across: float, down: float, colour: str, part: tuple[int, int]) -> None:
        self.draw.arc(self._around(x, y, across, down), *part, colour, 4 * self.finer)

    def line(self, *points: float, colour: str, width: float) -> None:
        self.draw.line([at * self.finer for at in points], colour, round(width * self.finer), "curve")

    def _around(self, x: float, y: float, across: float, down: float) -> list[float]:
        return [edge * self.finer for edge in (x - across, y - down, x + across, y + down)]


@cache
def _person(number: int, mouth: int, blink: bool, sway: int) -> Image.Image:
    """One person before a wall, RGBA, with a lit frame while the mouth is open."""
    person, (width, height) = PEOPLE[number], _PANEL
    picture = Image.new("RGBA", (width * _FINER, height * _FINER))
    pen = _Pen(picture)
    x, y = width / 2, 148.0 + sway
    pen.box(x, height / 2, x - 0.5, height / 2 - 0.5, person.accent if mouth else person.wall, 16)
    pen.box(x, height / 2, x - 4, height / 2 - 4, person.wall, 12)
    if person.long_hair:
        pen.box(x, y + 25, 76, 85, person.hair, 60)
    pen.oval(x, height - 5, 106, 66, person.shirt, _UPPER)
    pen.box(x, 236, 24, 40, person.shade, 22)
    _draw_head(pen, person, x, y, blink)
    _draw_mouth(pen, x, y + 52, mouth)
    return picture.reduce(_FINER)


def _draw_head(pen: _Pen, person: _Person, x: float, y: float, blink: bool) -> None:
    pen.box(x, y + 5, 66, 83, person.skin, 64)
    pen.oval(x, y - 28, 71, 62, person.hair, _UPPER)
    for side in (-1, 1):
        eye = x + side * 28
        pen.line(eye - 10, y - 23, eye + 10, y - 23, colour=person.hair, width=4.8)
        pen.oval(eye, y, 10.5, 2 if blink else 9, _INK if blink else "#faf7f2")
        if not blink:
            pen.oval(eye - 1.5 * side, y + 0.5, 5.4, 5.8, _INK)
        pen.box(x + side * 76, y + 9, 11, 25, _HEADSET, 10)
    pen.oval(x, y + 24, 9, 8, person.shade, _LOWER)
    pen.arc(x, y - 2, 77, 92, _HEADSET, _UPPER)
    pen.line(x + 74, y + 30, x + 58, y + 62, x + 36, y + 66, colour=_HEADSET, width=4.4)
    pen.oval(x + 34, y + 66, 6.5, 4.6, person.accent)


def _draw_mouth(pen: _Pen, x: float, y: float, mouth: int) -> None:
    if mouth == 0:
        pen.arc(x, y - 12, 22, 16, "#783632", (35, 145))
        return
    across, down = 21.0 - 1.2 * mouth, 3.0 + 3.4 * mouth
    pen.oval(x, y, across + 2.4, down + 2.4, "#b0544c")
    pen.oval(x, y, across, down, "#541a1e")
    pen.oval(x, y - down * 0.45, across * 0.85, down * 0.5, "#f6f2ec", _UPPER)
    pen.oval(x, y + down * 0.45, across * 0.7, down * 0.5, "#ce6260", _LOWER)
