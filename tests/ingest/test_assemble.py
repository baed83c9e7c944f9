"""Which windows are written, and what of them is padding, against a count window by window."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.ingest.assemble import padded_spans, segments_of, write_channel, write_pictures
from corpus.ingest.extent import Extent
from corpus.ingest.pictures import Pick
from corpus.schemas.artifacts import PICTURE_NONE, PICTURE_STALE, Segment
from corpus.schemas.span import Span

MS = 1000


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    """What there is, in 50 ms steps; from zero on, as zero is where the first thing is."""
    at, found = 0, list[Span]()
    for _ in range(draw(st.integers(1, 8))):
        length = draw(st.integers(1, 40)) * 50 * MS
        found.append(Span(at, at + length))
        at += length + draw(st.sampled_from([0, 50, 900, 1000, 1050, 2000, 5050])) * MS
    return found


@settings(max_examples=200)
@given(spans())
def test_a_window_is_written_unless_it_lies_in_a_long_stretch_of_nothing(content: list[Span]) -> None:
    longest_us = 1_000_000
    duration_us = content[-1].stop_us
    empty = [Span(a.stop_us, b.start_us) for a, b in pairwise(content) if b.start_us - a.stop_us > longest_us]
    expected = [
        window
        for window in range(duration_us // 200_000)
        if not any(e.covers(Span(window * 200_000, (window + 1) * 200_000)) for e in empty)
    ]
    segments = segments_of(content, duration_us, longest_us)
    written = [w for s in segments for w in range(s.first_window, s.first_window + s.windows)]
    assert written == expected
    for before, after in pairwise(segments):
        assert before.first_window + before.windows < after.first_window


@settings(max_examples=50)
@given(st.data())
def test_samples_stand_at_their_place_and_the_rest_is_padding(data: st.DataObject) -> None:
    extents, at = list[Extent](), 0
    for _ in range(data.draw(st.integers(0, 5))):
        at += data.draw(st.integers(1, 9000))
        extents.append(Extent(at, data.draw(st.integers(1, 9000))))
        at += extents[-1].samples
    segments = [Segment(first_window=1, windows=2), Segment(first_window=5, windows=3)]
    truth = np.zeros(10 * 3200 + at, np.int16)
    held = np.zeros(len(truth), bool)
    values = np.random.default_rng(1).integers(1, 30_000, sum(e.samples for e in extents)).astype("<i2")
    taken = 0
    for e in extents:
        truth[e.start : e.start + e.samples] = values[taken : taken + e.samples]
        held[e.start : e.start + e.samples] = True
        taken += e.samples
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in", Path(folder) / "out"
        source.write_bytes(values.tobytes())
        write_channel(source, extents, segments, 16_000, out)
        found = np.frombuffer(out.read_bytes(), "<i2")
    assert np.array_equal(found, np.concatenate([truth[3200:9600], truth[16_000:25_600]]))
    padded = np.zeros(len(truth), bool)
    for span in padded_spans(0, extents, segments, 16_000):
        padded[round(span.start_us * 0.016) : round(span.stop_us * 0.016)] = True
    inside = np.zeros(len(truth), bool)
    inside[3200:9600] = inside[16_000:25_600] = True
    assert np.array_equal(padded, inside & ~held)


def test_pictures_are_copied_per_window_and_flagged(tmp_path: Path) -> None:
    (tmp_path / "jpegs").write_bytes(b"AABBB")
    picks = [Pick(1, 3, 390_000, 0, 2), Pick(3, 20, 700_000, 2, 3)]
    segments = [Segment(first_window=0, windows=5), Segment(first_window=8, windows=2)]
    write_pictures(tmp_path / "jpegs", picks, segments, tmp_path)
    assert (tmp_path / "pictures.mjpeg").read_bytes() == b"AAAABBBBBBBBBBBB"
    rows = np.load(tmp_path / "pictures.npy")
    assert rows["offset"].tolist() == [-1, 0, 2, 4, 7, 10, 13]
    assert rows["size"].tolist() == [0, 2, 2, 3, 3, 3, 3]
    assert rows["pts_us"].tolist() == [-1, 390_000, 390_000, 700_000, 700_000, 700_000, 700_000]
    # Window 8 ends at 1.8 s, 1.1 s after its picture.
    flags = [PICTURE_NONE, 0, 0, 0, 0, PICTURE_STALE, PICTURE_STALE]
    assert rows["flags"].tolist() == flags
