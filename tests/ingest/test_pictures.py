"""Letterbox, colour, orientation, and the choice of frames."""

from __future__ import annotations

import io
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from hypothesis import given
from hypothesis import strategies as st

from corpus.ingest.pictures import JpegEncoder, PicturePicker, letterbox


@given(
    st.integers(1, 8000),
    st.integers(1, 8000),
    st.sampled_from([Fraction(1), Fraction(16, 11), Fraction(3, 4)]),
    st.integers(0, 3),
    st.sampled_from([(320, 200), (200, 320), (40, 40), (640, 400)]),
)
def test_the_box_is_even_centred_and_of_the_shown_shape(
    width: int, height: int, aspect: Fraction, turns: int, out: tuple[int, int]
) -> None:
    box = letterbox(width, height, aspect, turns, out)
    assert all(value % 2 == 0 for value in (box.left, box.top, box.width, box.height))
    assert box.width == out[0] or box.height == out[1]
    assert 0 <= out[0] - box.width - 2 * box.left <= 2
    assert 0 <= out[1] - box.height - 2 * box.top <= 2
    shown = width * aspect / height
    shown = 1 / shown if turns % 2 else shown
    # One side is rounded to an even number of pixels, at least two.
    if box.width == out[0]:
        assert abs(box.height - out[0] / shown) <= 1 or box.height in (2, out[1])
    else:
        assert abs(box.width - out[1] * shown) <= 1 or box.width in (2, out[0])


def plain(luma: int, blue: int = 128, red: int = 128, size: tuple[int, int] = (320, 200)) -> av.VideoFrame:
    planes = np.stack([np.full((size[1], size[0]), value, np.uint8) for value in (luma, blue, red)])
    frame = av.VideoFrame.from_ndarray(planes, format="yuv444p").reformat(format="yuv420p")
    frame.color_range = ColorRange.MPEG
    return frame


def shown(jpeg: bytes) -> Any:
    with av.open(io.BytesIO(jpeg), format="mjpeg") as container:
        return next(container.decode(video=0))


@pytest.mark.parametrize("luma, full", [(16, 0), (235, 255), (126, 128)])
def test_studio_range_becomes_full_range(luma: int, full: int) -> None:
    frame = shown(JpegEncoder(320, 200, 2)(plain(luma), Fraction(1)))
    assert abs(int(frame.reformat(format="gray").to_ndarray().mean()) - full) <= 2


def test_hd_colours_are_told_in_the_matrix_of_jpeg() -> None:
    # Pure red in BT.709 studio range is (63, 102, 240); in JPEG's full-range BT.601 it is (76, 85, 255).
    frame = shown(JpegEncoder(320, 200, 2)(plain(63, 102, 240, (1280, 800)), Fraction(1)))
    planes = [np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[:, : p.width].mean() for p in frame.planes]
    assert planes == pytest.approx([76, 85, 255], abs=3)


def test_a_frame_that_names_its_matrix_is_believed() -> None:
    frame = plain(63, 102, 240)
    frame.colorspace = Colorspace.ITU709.value
    found = shown(JpegEncoder(320, 200, 2)(frame, Fraction(1)))
    planes = [np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[:, : p.width].mean() for p in found.planes]
    assert planes == pytest.approx([76, 85, 255], abs=3)


def test_a_picture_does_not_depend_on_those_before() -> None:
    encoder = JpegEncoder(320, 200, 5)
    for luma in (20, 200, 90):
        encoder(plain(luma), Fraction(1))
    assert encoder(plain(50), Fraction(1)) == JpegEncoder(320, 200, 5)(plain(50), Fraction(1))


def test_quality_is_the_quantiser() -> None:
    noise = np.random.default_rng(0).integers(16, 235, (300, 320), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="yuv420p")
    sizes = [len(JpegEncoder(320, 200, q)(frame, Fraction(1))) for q in (2, 5, 12, 31)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 2 * sizes[3]


@given(st.lists(st.integers(0, 3_000_000), min_size=1, max_size=30), st.integers(0, 800_000))
def test_every_window_gets_the_last_frame_before_its_end(times: list[int], tail_us: int) -> None:
    times = sorted(times)
    end_us = times[-1] + 1 + tail_us

    class Numbers:
        """Stands in for the encoder: a frame's bytes are its number."""

        def __call__(self, frame: int, aspect: Fraction) -> bytes:
            return bytes([frame])

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jpegs"
        picker = PicturePicker(path, Numbers())  # type: ignore[arg-type]
        for number, time_us in enumerate(times):
            picker.push(number, time_us, Fraction(1))  # type: ignore[arg-type]
        picker.finish(end_us)
        data = path.read_bytes()
    shown_in: dict[int, tuple[int, int]] = {}
    for pick in picker.picks():
        for window in range(pick.first_window, pick.stop_window):
            assert window not in shown_in
            shown_in[window] = (data[pick.offset], pick.time_us)
    for window in range(25):
        before = [n for n, t in enumerate(times) if t < (window + 1) * 200_000]
        over = window * 200_000 >= end_us
        expected = None if over or not before else (before[-1], times[before[-1]])
        assert shown_in.get(window) == expected
