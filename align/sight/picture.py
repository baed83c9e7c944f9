"""Prepares a video frame for sight: upright, small and grey, or a piece of it in colour."""

from __future__ import annotations

from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from corpus.schemas.sight import THUMB_COLUMNS, THUMB_ROWS

CELL = 4
GREY_WIDTH, GREY_HEIGHT = THUMB_COLUMNS * CELL, THUMB_ROWS * CELL
"""Size of the grey picture in which movement is measured: four by four pixels per part of the thumb."""

Grey = npt.NDArray[np.float32]
Colour = npt.NDArray[np.uint8]
_PLANAR = ("yuv420p", "yuvj420p")


class Pictures:
    """Scalers, reused from frame to frame."""

    def __init__(self) -> None:
        self._grey = VideoReformatter()
        self._whole = VideoReformatter()
        self._piece = VideoReformatter()
        self._plain = VideoReformatter()

    def grey(self, frame: av.VideoFrame) -> Grey:
        """(GREY_HEIGHT, GREY_WIDTH) brightness from 0 to 255; the picture is stretched to fill it."""
        turns = _quarter_turns(frame)
        size = (GREY_HEIGHT, GREY_WIDTH) if turns % 2 else (GREY_WIDTH, GREY_HEIGHT)
        small = self._grey.reformat(frame, *size, format="gray", interpolation=Interpolation.AREA, threads=1)
        return np.rot90(_plane(small, 0), -turns).astype(np.float32)

    def whole(self, frame: av.VideoFrame, side: int) -> tuple[Colour, int, int]:
        """The picture in the middle of a black square, and the black pixels to its left and above it."""
        turns = _quarter_turns(frame)
        longest = max(frame.width, frame.height)
        size = (max(1, round(side * frame.width / longest)), max(1, round(side * frame.height / longest)))
        small = self._whole.reformat(
            frame, *size, format="rgb24", interpolation=Interpolation.AREA, threads=1
        )
        upright = np.rot90(_rgb(small), -turns)
        square = np.zeros((side, side, 3), np.uint8)
        high, wide = upright.shape[:2]
        left, top = (side - wide) // 2, (side - high) // 2
        square[top : top + high, left : left + wide] = upright
        return square, left, top

    def planar(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame in a form that `piece` can cut; most frames already are."""
        return (
            frame
            if frame.format.name in _PLANAR
            else self._plain.reformat(frame, format="yuv420p", threads=1)
        )

    def piece(
        self,
        frame: av.VideoFrame,
        left: float,
        top: float,
        width: float,
        side: int,
        *,
        edges: bool = False,
    ) -> Colour:
        """The square of `width` pixels at (left, top) of the upright picture, as (side, side, 3).

        `frame` is planar. Outside the picture it is black, or with `edges` like the nearest pixels.
        """
        turns = _quarter_turns(frame)
        left, top = _stored(left, top, width, turns, frame.width, frame.height)
        # Even coordinates, because chroma planes have half the pixels.
        x0, y0 = max(0, round(left) // 2 * 2), max(0, round(top) // 2 * 2)
        x1 = min(frame.width, round(left + width) // 2 * 2)
        y1 = min(frame.height, round(top + width) // 2 * 2)
        square = np.zeros((side, side, 3), np.uint8)
        if x1 - x0 < 4 or y1 - y0 < 4:
            return square
        cut = av.VideoFrame(x1 - x0, y1 - y0, frame.format.name)
        cut.color_range, cut.colorspace = frame.color_range, frame.colorspace
        # Cut the planes first: scaling the whole frame for one face would cost fifty times as much.
        for index, shift in enumerate((0, 1, 1)):
            rows = slice(y0 >> shift, (y1 + shift) >> shift)
            _plane(cut, index)[:] = _plane(frame, index)[rows, x0 >> shift : (x1 + shift) >> shift]
        scale = side / width
        # The part outside the picture stays black, so the rest keeps its place in the square.
        u0, v0 = max(0, round((x0 - left) * scale)), max(0, round((y0 - top) * scale))
        u1, v1 = min(side, round((x1 - left) * scale)), min(side, round((y1 - top) * scale))
        if u1 - u0 < 2 or v1 - v0 < 2:
            return square
        small = self._piece.reformat(
            cut, u1 - u0, v1 - v0, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        square[v0:v1, u0:u1] = _rgb(small)
        if edges:
            square[:v0], square[v1:] = square[v0], square[v1 - 1]
            square[:, :u0], square[:, u1:] = square[:, u0 : u0 + 1], square[:, u1 - 1 : u1]
        return np.ascontiguousarray(np.rot90(square, -turns))


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Quarter turns clockwise that make the stored picture upright."""
    return round(-frame.rotation / 90) % 4


def upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height of the picture as shown, assuming square pixels."""
    return (frame.height, frame.width) if _quarter_turns(frame) % 2 else (frame.width, frame.height)


def _stored(left: float, top: float, side: float, turns: int, width: int, height: int) -> tuple[float, float]:
    """Upper left corner of an upright square in the stored picture of `width` by `height`."""
    return {
        0: (left, top),
        1: (top, height - left - side),
        2: (width - left - side, height - top - side),
        3: (width - top - side, left),
    }[turns]


def _plane(frame: av.VideoFrame, index: int) -> Colour:
    plane = frame.planes[index]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
    return cast(Colour, rows[: plane.height, : plane.width])


def _rgb(frame: av.VideoFrame) -> Colour:
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
    return cast(Colour, rows[: frame.height, : 3 * frame.width].reshape(frame.height, frame.width, 3))
