"""Tells whether anything new may have come into the picture since a detector last saw all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from corpus.align.sight.piece import Box
from corpus.schemas.sight import THUMB_COLUMNS, THUMB_ROWS

CHANGED = 3
"""Grey levels by which a part of the picture changes when something comes in; noise averages out."""

Thumb = npt.NDArray[np.uint8]


class Changes:
    """Compares the picture's parts with earlier ones, except those of things that are followed."""

    def __init__(self, beside: float, *, below: bool) -> None:
        """A box is widened by `beside` of its size on each side, and with `below` down to the picture's edge,
        so that a person's own shoulders do not count as something new."""
        self._beside, self._below = beside, below
        self._now: Thumb | None = None
        self._then: Thumb | None = None
        self._size = (1, 1)

    def see(self, thumb: Thumb, size: tuple[int, int]) -> None:
        """Take in the current picture and its size in pixels."""
        self._now, self._size = thumb, size

    def detected(self) -> None:
        """Note that the detector has seen the current picture."""
        self._then = self._now

    def forget(self) -> None:
        self._then = None

    def outside(self, boxes: Sequence[Box]) -> bool:
        """Whether the picture has changed outside the boxes, apart from its overall brightness."""
        if self._now is None or self._then is None:
            return True
        change = self._now.astype(np.int16) - self._then
        change -= np.int16(np.median(change))
        for box in boxes:
            width, height = box[2] - box[0], box[3] - box[1]
            left, right = box[0] - self._beside * width, box[2] + self._beside * width
            top, bottom = box[1] - self._beside * height, box[3] + self._beside * height
            columns = self._parts(left, right, self._size[0], THUMB_COLUMNS)
            rows = self._parts(top, bottom, self._size[1], THUMB_ROWS)
            change[slice(rows.start, None) if self._below else rows, columns] = 0
        return bool(np.abs(change).max() >= CHANGED)

    @staticmethod
    def _parts(low: float, high: float, size: int, parts: int) -> slice:
        """The parts that lie in the stretch at least partly."""
        return slice(max(0, int(low * parts / size)), max(0, int(np.ceil(high * parts / size))))
