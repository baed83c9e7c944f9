"""The small parts of looking: anchors, boxes, tracks, movement between two pictures."""

from __future__ import annotations

import numpy as np
import pytest

from corpus.align.sight.anchors import anchors
from corpus.align.sight.detector import Found, face_of
from corpus.align.sight.mesh import Face
from corpus.align.sight.motion import cut, motion
from corpus.align.sight.picture import GREY_HEIGHT, GREY_WIDTH
from corpus.align.sight.piece import Piece, overlap
from corpus.align.sight.spots import spots
from corpus.align.sight.tracks import LOST_US, Tracker


def test_anchors_run_row_by_row_and_share_their_cells_centre() -> None:
    found = anchors(128, ((8, 2), (16, 6)))
    assert len(found) == 16 * 16 * 2 + 8 * 8 * 6 == 896
    expected = [
        ((column + 0.5) / cells, (row + 0.5) / cells)
        for cells, per_cell in ((16, 2), (8, 6))
        for row in range(cells)
        for column in range(cells)
        for _ in range(per_cell)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert len(anchors(192, ((4, 1),))) == 48 * 48 == 2304


def test_a_detectors_rows_become_one_box_a_face() -> None:
    centres = anchors(192, ((4, 1),))
    rows = np.zeros((len(centres), 16), np.float32)
    logits = np.full(len(centres), -9.0, np.float32)
    at = 24 * 48 + 12  # the cell whose centre is (12.5 / 48, 24.5 / 48)
    rows[at, :4] = (2.0, -4.0, 48.0, 96.0)
    rows[at, 4:8] = (-10.0, 0.0, 10.0, 20.0)  # the right eye, then the left one, 45 degrees clockwise
    logits[at] = 3.0
    rows[at + 1], logits[at + 1] = rows[at], 2.0  # the cell beside sees the same face, less surely
    rows[0, 2:4], logits[0] = 20.0, 2.5  # another face, in a corner
    first, second = spots(rows, logits, centres, 192, 960)
    face = face_of(first)
    # Both cells count, by their scores.
    sure, less = 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-2))
    x = 12.5 / 48 + 2 / 192 + less / (sure + less) / 48
    y = 24.5 / 48 - 4 / 192
    assert second.score == pytest.approx(1 / (1 + np.exp(-2.5)))
    np.testing.assert_allclose(
        face.box, [(x - 0.125) * 960, (y - 0.25) * 960, (x + 0.125) * 960, (y + 0.25) * 960], rtol=1e-5
    )
    assert face.roll == pytest.approx(np.pi / 4)
    assert face.score == pytest.approx(1 / (1 + np.exp(-3)))


def test_overlap_of_boxes() -> None:
    assert overlap(np.array((0.0, 0, 2, 2)), np.array((1.0, 0, 3, 2))) == pytest.approx(1 / 3)
    assert overlap(np.array((0.0, 0, 2, 2)), np.array((2.0, 0, 3, 2))) == 0


def face_at(x: float, score: float = 0.9) -> Face:
    points = np.zeros((468, 3))
    points[:, 0], points[:, 1] = x + 50 * np.linspace(0, 1, 468), 50 * np.linspace(0, 1, 468)
    return Face(points, score)


def found_at(x: float) -> Found:
    return Found(np.array((x, 0.0, x + 50, 50)), 0.0, 0.9)


class TestTracks:
    """A made-up picture: faces stand at some places and the mesh says what is in a piece of it."""

    def step(self, tracker: Tracker[Face], time_us: int, places: list[float]) -> list[tuple[int, float]]:
        def look_at(piece: Piece) -> Face:
            near = [x for x in places if abs(x + 25 - piece.x) < 20]
            return face_at(near[0]) if near else face_at(piece.x - 25, 0.1)

        faces = tracker.step(time_us, look_at, lambda: [found_at(x) for x in places])
        return [(track, float(face.box[0])) for track, face in faces]

    def test_a_face_keeps_its_track_while_it_moves(self) -> None:
        tracker = Tracker[Face](4)
        seen = [self.step(tracker, n * 80_000, [100 + 8.0 * n, 400]) for n in range(10)]
        assert seen == [[(0, 100 + 8.0 * n), (1, 400)] for n in range(10)]

    def test_a_face_lost_for_a_moment_comes_back_as_itself(self) -> None:
        tracker = Tracker[Face](4)
        self.step(tracker, 0, [100])
        assert self.step(tracker, 80_000, []) == []
        assert self.step(tracker, LOST_US - 80_000, [104]) == [(0, 104)]

    def test_a_face_lost_for_long_is_another_one(self) -> None:
        tracker = Tracker[Face](4)
        self.step(tracker, 0, [100])
        self.step(tracker, LOST_US, [])
        assert self.step(tracker, LOST_US + 600_000, [100]) == [(1, 100)]

    def test_behind_a_cut_everybody_is_new(self) -> None:
        tracker = Tracker[Face](4)
        self.step(tracker, 0, [100])
        tracker.forget()
        assert self.step(tracker, 80_000, [100]) == [(1, 100)]

    def test_no_more_faces_than_asked_for(self) -> None:
        assert len(self.step(Tracker[Face](2), 0, [0, 100, 200])) == 2


def textured(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 220, (GREY_HEIGHT // 4 + 2, GREY_WIDTH // 4 + 2))
    return np.kron(coarse, np.ones((4, 4))).astype(np.float32)


def part(picture: np.ndarray, dy: int = 0, dx: int = 0) -> np.ndarray:
    return np.ascontiguousarray(picture[4 + dy : 4 + dy + GREY_HEIGHT, 4 + dx : 4 + dx + GREY_WIDTH])


def smooth(picture: np.ndarray) -> np.ndarray:
    """Without structure finer than three pixels, as a scaled picture is."""
    for axis in (0, 1):
        picture = sum(np.roll(picture, n, axis) for n in (-1, 0, 1)) / 3
    return picture.astype(np.float32)


def test_nothing_moves_in_the_same_picture_or_in_a_brighter_one() -> None:
    picture = part(textured(0))
    assert motion(picture, picture) == 0
    assert motion(picture, picture + 9) < 0.1
    assert cut(picture, picture) == 0


def test_a_camera_that_shakes_moves_nothing_and_a_thing_does() -> None:
    picture = smooth(textured(1))
    shaken = (0.75 * part(picture) + 0.25 * part(picture, 0, 1)).astype(np.float32)  # a quarter of a pixel
    assert motion(part(picture), shaken) < 4
    moved = shaken.copy()
    moved[20:28, 40:48] = 255 - moved[20:28, 40:48]
    assert motion(part(picture), moved) > 12


def test_another_picture_is_a_cut_and_a_moved_one_is_none() -> None:
    assert cut(part(textured(2)), part(textured(3))) > 0.7
    moved = part(textured(2)).copy()
    moved[10:30, 10:30] = 128
    assert cut(part(textured(2)), moved) < 0.3
    black = np.zeros((GREY_HEIGHT, GREY_WIDTH), np.float32)
    assert cut(black, black + 1) == 0
    assert cut(black, black + 200) > 0.7
