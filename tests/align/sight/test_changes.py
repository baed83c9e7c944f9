"""When the detector looks at the whole picture again."""

from __future__ import annotations

import numpy as np
import pytest

from corpus.align.sight.changes import CHANGED, Changes
from corpus.align.sight.mesh import Face
from corpus.align.sight.piece import Piece
from corpus.align.sight.tracks import DETECT_US, RARELY_US, Tracker
from corpus.schemas.sight import THUMB_COLUMNS, THUMB_ROWS

SIZE = (THUMB_COLUMNS * 10, THUMB_ROWS * 10)
STEP_US = 80_000


def thumb(changed: tuple[int, int] | None = None, by: int = CHANGED, light: int = 0) -> np.ndarray:
    picture = np.full((THUMB_ROWS, THUMB_COLUMNS), 100 + light, np.uint8)
    if changed:
        picture[changed] += np.uint8(by)
    return picture


@pytest.fixture
def changes() -> Changes:
    changes = Changes(0.5, below=True)
    changes.see(thumb(), SIZE)
    assert changes.outside([])  # nothing was looked at yet
    changes.detected()
    return changes


def test_noise_and_light_are_no_change_and_a_thing_is(changes: Changes) -> None:
    for picture, changed in (
        (thumb(), False),
        (thumb((2, 3), CHANGED - 1), False),
        (thumb(light=40), False),
        (thumb((2, 3)), True),
        (thumb((2, 3), light=40), True),
    ):
        changes.see(picture, SIZE)
        assert changes.outside([]) == changed
    changes.detected()
    assert not changes.outside([])
    changes.forget()
    assert changes.outside([])


def test_what_a_followed_thing_does_is_no_change(changes: Changes) -> None:
    box = np.array((50.0, 30, 70, 50))  # parts 5 and 6 across, 3 and 4 down; with its sides 4 to 7, 2 to 5
    for part, changed in (
        ((3, 5), False),
        ((2, 4), False),
        ((3, 3), True),
        ((1, 5), True),
        ((10, 5), False),  # below
        ((10, 8), True),
    ):
        changes.see(thumb(part), SIZE)
        assert changes.outside([box]) == changed
    outside = np.array((-90.0, -90, -70, -70))
    assert changes.outside([outside])


def test_the_detector_looks_twice_a_second_while_something_changes_and_else_rarely() -> None:
    def looks(still: bool) -> list[int]:
        changes = Changes(0.5, below=True)
        tracker, times = Tracker[Face](4, changes=changes), list[int]()

        def look_at(piece: Piece) -> Face:
            raise AssertionError("nothing is followed")

        def detect() -> list[Face]:
            times.append(number)
            return []

        for number in range(50):
            changes.see(thumb((0, 0), 0 if still else number), SIZE)
            tracker.step(number * STEP_US, look_at, detect)
        return times

    often, rarely = -(-DETECT_US // STEP_US), RARELY_US // STEP_US
    assert looks(still=False) == list(range(0, 50, often))
    assert looks(still=True) == list(range(0, 50, rarely))
