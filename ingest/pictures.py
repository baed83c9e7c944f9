"""One picture per window: the last frame presented before the window's end, as a letterboxed JPEG."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from corpus.schemas.arrays import UInt8Array
from corpus.schemas.clock import WINDOW_US

if TYPE_CHECKING:
    from av.buffer import Buffer
    from av.video.codeccontext import VideoCodecContext


_SCALER = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_LAMBDA_PER_Q = 118
"""libavcodec's FF_QP2LAMBDA."""
_HD_LINES = 576
"""A stream that names no colour matrix is BT.709 above this height, as players take it."""
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""AVColorSpace to swscale's tables."""


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a picture lies in its letterbox; everything is even, because chroma has half the pixels."""

    left: int
    top: int
    width: int
    height: int


def letterbox(width: int, height: int, aspect: Fraction, quarter_turns: int, out: tuple[int, int]) -> _Box:
    """The largest centred box of the displayed shape. `width`, `height` are stored pixels."""
    shown = Fraction(width, height) * aspect
    if quarter_turns % 2:
        shown = 1 / shown
    out_width, out_height = out
    # The longer side fills the canvas; the other is rounded to even pixels, at least two.
    if shown * out_height >= out_width:
        box = (out_width, min(out_height, max(2, 2 * round(out_width / shown / 2))))
    else:
        box = (min(out_width, max(2, 2 * round(out_height * shown / 2))), out_height)
    left, top = (out_width - box[0]) // 4 * 2, (out_height - box[1]) // 4 * 2
    return _Box(left, top, box[0], box[1])


def orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """Quarter turns clockwise and whether it is first mirrored left to right, from the display matrix."""
    side_data = cast("Buffer | None", frame.side_data.get("DISPLAYMATRIX"))
    if side_data is None:
        return 0, False
    # The upper left 2x2 of a 3x3 fixed-point matrix; its determinant is negative for a mirror image.
    a, b, _, c, d = (int(v) for v in np.frombuffer(bytes(side_data), "<i4")[:5])
    mirrored = a * d - b * c < 0
    # Undo the mirroring first, so that what is left is a pure rotation.
    if mirrored:
        a, b = -a, -b
    turns = {True: (0 if a >= 0 else 2), False: (1 if b > 0 else 3)}[abs(a) >= abs(b)]
    return turns, mirrored


class JpegEncoder:
    """Encodes frames as JPEGs of one size. A picture's bytes depend only on its frame."""

    def __init__(self, width: int, height: int, quality: int) -> None:
        self._size = (width, height)
        self._scaler = VideoReformatter()
        self._encoder = self._open(quality)
        self._orientations: dict[int, tuple[int, bool]] = {}
        self._pts = 0

    def _open(self, quality: int) -> VideoCodecContext:
        encoder = av.CodecContext.create("mjpeg", "w")
        encoder.width, encoder.height = self._size
        encoder.pix_fmt = "yuvj420p"
        encoder.color_range = int(ColorRange.JPEG)
        encoder.time_base = Fraction(WINDOW_US, 1_000_000)
        encoder.thread_count = 1
        encoder.qmin = encoder.qmax = quality
        encoder.global_quality = quality * _LAMBDA_PER_Q
        encoder.flags |= int(av.codec.context.Flags.qscale) | int(av.codec.context.Flags.bitexact)
        encoder.open()
        return encoder

    def __call__(self, frame: av.VideoFrame, aspect: Fraction) -> bytes:
        canvas = self._letterboxed(frame, aspect)
        # The encoder wants rising stamps; they are not in the JPEG.
        canvas.pts, canvas.time_base = self._pts, self._encoder.time_base
        # An intra picture, whatever the source frame was: bytes must not depend on the frame's neighbours.
        canvas.pict_type = 1
        self._pts += 1
        return b"".join(bytes(packet) for packet in self._encoder.encode(canvas))

    def _orientation(self, frame: av.VideoFrame) -> tuple[int, bool]:
        # A frame that was asked for its side data refers to itself and stays, 3 MB at 1080 lines, until
        # the garbage collector comes: so it is asked only when its rotation was not met before.
        rotation = frame.rotation
        if rotation not in self._orientations:
            self._orientations[rotation] = orientation(frame)
        return self._orientations[rotation]

    def _letterboxed(self, frame: av.VideoFrame, aspect: Fraction) -> av.VideoFrame:
        turns, mirrored = self._orientation(frame)
        box = letterbox(frame.width, frame.height, aspect, turns, self._size)
        # Scale before turning: fewer pixels to turn, and swscale does not rotate.
        size = (box.height, box.width) if turns % 2 else (box.width, box.height)
        scaled = self._scaler.reformat(
            frame,
            *size,
            format="yuvj420p",
            src_colorspace=_matrix(frame),
            dst_colorspace=Colorspace.ITU601,
            interpolation=_SCALER,
            src_color_range=_color_range(frame),
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        # The usual case needs no canvas: the scaler's own frame is the picture.
        if not turns and not mirrored and size == self._size:
            return scaled
        canvas = av.VideoFrame(*self._size, "yuvj420p")
        # Black is luma 0, chroma 128; chroma planes have half the pixels each way.
        for index, (shift, black) in enumerate(((0, 0), (1, 128), (1, 128))):
            target, source = _plane(canvas, index), _plane(scaled, index)
            target[:] = black
            source = source[:, ::-1] if mirrored else source
            source = np.rot90(source, -turns)
            top, left = box.top >> shift, box.left >> shift
            target[top : top + source.shape[0], left : left + source.shape[1]] = source
        return canvas


def _plane(frame: av.VideoFrame, index: int) -> UInt8Array:
    """(height, width) view of one plane."""
    plane = frame.planes[index]
    # libav pads every line for alignment: cut it off.
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
    return cast(UInt8Array, rows[: plane.height, : plane.width])


def _matrix(frame: av.VideoFrame) -> Colorspace:
    known = _MATRICES.get(int(frame.colorspace))
    if known is not None:
        return known
    return Colorspace.ITU709 if frame.height > _HD_LINES else Colorspace.ITU601


def _color_range(frame: av.VideoFrame) -> ColorRange:
    full = int(frame.color_range) == int(ColorRange.JPEG) or frame.format.name.startswith("yuvj")
    rgb = frame.format.is_rgb
    return ColorRange.JPEG if full or rgb else ColorRange.MPEG


@dataclass(frozen=True, slots=True)
class Pick:
    """A frame that is the picture of windows [first_window, stop_window)."""

    first_window: int
    stop_window: int
    time_us: int
    offset: int
    size: int


class PicturePicker:
    """Takes frames in order of presentation and writes the JPEGs of those shown in a window to a file.

    A frame is held until the next one shows which windows ended in between, so a hole of any length
    costs one entry. There are at most five entries per second, of 40 bytes each.
    """

    def __init__(self, file: Path, encoder: JpegEncoder) -> None:
        self._file = file.open("wb")
        self._encoder = encoder
        self._held: tuple[av.VideoFrame, int, Fraction] | None = None
        self._rows = array("q")
        self._offset = 0
        self._next_window = 0
        self._end_us: int | None = None
        """Where the picture that is held stops being shown, if before the next one."""

    def push(self, frame: av.VideoFrame, time_us: int, aspect: Fraction) -> None:
        """The next frame, presented at `time_us`, at or after the one before."""
        # The picture of window k was presented strictly before (k + 1) * 200 ms, so a new frame at
        # t leaves to its forerunner every window that ends at or before t.
        self._show_until(time_us // WINDOW_US)
        self._held, self._end_us = (frame, time_us, aspect), None

    def pause(self, end_us: int) -> None:
        """Windows that start at or after `end_us` have no picture until the next one."""
        self._end_us = end_us

    def finish(self, end_us: int) -> None:
        """The video ends at `end_us`: windows that start at or after it have no picture."""
        self._show_until(-(-end_us // WINDOW_US))
        self._held = None
        self.close()

    def close(self) -> None:
        self._file.close()

    def _show_until(self, window: int) -> None:
        if self._end_us is not None:
            shown = min(window, -(-self._end_us // WINDOW_US))
            self._end_us = None
            self._show_until(shown)
            self._held = None
        if window <= self._next_window:
            return
        if self._held is not None:
            frame, time_us, aspect = self._held
            data = self._encoder(frame, aspect)
            self._file.write(data)
            self._rows.extend((self._next_window, window, time_us, self._offset, len(data)))
            self._offset += len(data)
        self._next_window = window

    def picks(self) -> list[Pick]:
        """The picks, disjoint and in order of windows; windows in none of them have no picture."""
        rows = self._rows
        return [Pick(*rows[at : at + 5]) for at in range(0, len(rows), 5)]
