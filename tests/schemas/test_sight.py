from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corpus.schemas.errors import FormatError
from corpus.schemas.sight import FACE_DTYPE, FRAME_DTYPE, FaceTrack, Seen, Sight, read_sight, write_sight


def seen_of(frames: int, faces: list[tuple[int, int]]) -> Seen:
    """A made-up artifact: `faces` are pairs of frame and track."""
    rows = np.zeros(frames, FRAME_DTYPE)
    rows["time_us"] = np.arange(frames) * 80_000
    found = np.zeros(len(faces), FACE_DTYPE)
    for at, (frame, track) in enumerate(faces):
        found[at]["frame"], found[at]["track"] = frame, track
        found[at]["mouth_movement"] = 0.25 * (at + 1)
    track = FaceTrack(id=7, start_us=0, stop_us=80_000 * frames, frames=frames, still=False)
    head = Sight(
        rate_hz=12.5,
        width=1280,
        height=720,
        start_us=0,
        stop_us=80_000 * frames,
        frames=frames,
        tracks=(track,),
    )
    return Seen(head, rows, found)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    seen = seen_of(4, [(0, 7), (2, 7), (2, 9)])
    write_sight(seen, tmp_path)
    again = read_sight(tmp_path)
    assert again.head == seen.head
    assert again.head.period_us == 80_000
    np.testing.assert_array_equal(again.frames, seen.frames)
    np.testing.assert_array_equal(again.faces, seen.faces)


def test_mouth_movement_stands_under_its_frames() -> None:
    movement = seen_of(4, [(0, 7), (2, 7), (2, 9)]).mouth_movement(7)
    np.testing.assert_array_equal(movement, np.array([0.25, np.nan, 0.5, np.nan], np.float32))


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write_sight(seen_of(4, [(3, 7)]), tmp_path)
    np.save(tmp_path / "frames.npy", seen_of(3, []).frames)
    with pytest.raises(FormatError, match="not those of the head"):
        read_sight(tmp_path)
    np.save(tmp_path / "frames.npy", np.zeros(4))
    with pytest.raises(FormatError, match="float64"):
        read_sight(tmp_path)
    (tmp_path / "frames.npy").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="no array"):
        read_sight(tmp_path)
