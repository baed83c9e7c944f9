from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from corpus.schemas.errors import FormatError
from corpus.schemas.joints import BODY_DTYPE, HAND_DTYPE, JointTrack
from corpus.schemas.sight import FACE_DTYPE, FRAME_DTYPE, FaceTrack, Seen, Sight, read_sight, write_sight


def seen_of(frames: int, faces: list[tuple[int, int]]) -> Seen:
    """A made-up artifact: `faces` are pairs of frame and track."""
    rows = np.zeros(frames, FRAME_DTYPE)
    rows["time_us"] = np.arange(frames) * 80_000
    found = np.zeros(len(faces), FACE_DTYPE)
    for at, (frame, number) in enumerate(faces):
        found[at]["frame"], found[at]["track"] = frame, number
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
    with pytest.raises(FormatError, match="do not match the head"):
        read_sight(tmp_path)
    np.save(tmp_path / "frames.npy", np.zeros(4))
    with pytest.raises(FormatError, match="float64"):
        read_sight(tmp_path)
    (tmp_path / "frames.npy").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="not an array"):
        read_sight(tmp_path)


def with_joints(frame: int) -> Seen:
    """Two pictures and one hand and one body in them."""
    seen = seen_of(2, [])
    hands, bodies = np.zeros(1, HAND_DTYPE), np.zeros(1, BODY_DTYPE)
    hands["frame"] = bodies["frame"] = frame
    track = JointTrack(id=0, start_us=0, stop_us=80_000, frames=1)
    head = replace(seen.head, looked_for=("faces", "hands", "bodies"), hands=(track,), bodies=(track,))
    return Seen(head, seen.frames, seen.faces, hands, bodies)


def test_hands_and_bodies_are_read_as_written(tmp_path: Path) -> None:
    seen = with_joints(1)
    write_sight(seen, tmp_path)
    again = read_sight(tmp_path)
    assert again.head == seen.head
    np.testing.assert_array_equal(again.hands, seen.hands)
    np.testing.assert_array_equal(again.bodies, seen.bodies)
    assert len(again.of_hand(0)) == len(again.of_body(0)) == 1


@pytest.mark.parametrize("frame", [-1, 2])
def test_joints_of_other_pictures_are_refused(tmp_path: Path, frame: int) -> None:
    write_sight(with_joints(frame), tmp_path)
    with pytest.raises(FormatError, match="do not match the head"):
        read_sight(tmp_path)


def test_missing_joints_that_were_looked_for_are_a_fault(tmp_path: Path) -> None:
    write_sight(with_joints(0), tmp_path)
    (tmp_path / "hands.npy").unlink()
    with pytest.raises(FormatError, match="not an array"):
        read_sight(tmp_path)


def test_what_the_first_form_wrote_is_read(tmp_path: Path) -> None:
    seen = seen_of(4, [(0, 7)])
    write_sight(seen, tmp_path)
    plain = json.loads((tmp_path / "sight.json").read_text())
    for name in ("looked_for", "hands", "bodies"):
        del plain[name]
    text = json.dumps({**plain, "schema": "corpus.sight/1", "models": ["faces 00"]})
    (tmp_path / "sight.json").write_text(text)
    again = read_sight(tmp_path)
    assert again.head == replace(seen.head, models=("faces 00",), looked_for=("faces",))
    assert len(again.hands) == len(again.bodies) == 0
