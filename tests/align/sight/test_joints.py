"""Hands and bodies: where they are looked for, how points come back, and joints beside another program's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import av
import numpy as np
import pytest

from corpus.align.models import find
from corpus.align.sight import networks
from corpus.align.sight.anchors import anchors
from corpus.align.sight.bodies import PERSON, BodyJoints, PersonDetector, piece_around, with_heat
from corpus.align.sight.hands import NEAR, PALM, Hand, HandJoints, PalmDetector, piece_of_palm
from corpus.align.sight.picture import Pictures
from corpus.align.sight.piece import Piece, cut_piece, to_picture
from corpus.align.sight.spots import Spot
from corpus.align.sight.watch import Watcher
from corpus.schemas.errors import MissingModelError
from corpus.schemas.joints import BODY_JOINTS, HAND_JOINTS
from corpus.schemas.settings import SightSettings

SEEDS = range(8)


def test_detectors_have_an_anchor_for_each_of_their_rows() -> None:
    assert len(anchors(192, PALM[1])) == 2016
    assert len(anchors(224, PERSON[1])) == 2254


def planar(picture: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")


@pytest.mark.parametrize("seed", SEEDS)
def test_points_of_a_turned_piece_come_back_to_where_they_are_in_the_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = np.zeros((360, 480, 3), np.uint8)
    x, y = float(rng.uniform(120, 360)), float(rng.uniform(120, 240))
    rows, columns = np.mgrid[:360, :480]
    picture[np.hypot(columns - x, rows - y) < 5] = 255  # a white disc
    roll = float(rng.uniform(-3.1, 3.1))
    piece = Piece(x + float(rng.uniform(-40, 40)), y + float(rng.uniform(-40, 40)), 160.0, roll)
    shown = cut_piece(planar(picture), piece, 224, Pictures()).mean(2)
    white = np.argwhere(shown > 128).mean(0)[::-1] + 0.5
    (found,) = to_picture(white[None], piece, 224)
    assert np.hypot(found[0] - x - 0.5, found[1] - y - 0.5) < 1.5


def test_outside_the_picture_it_is_black_or_as_at_its_edge() -> None:
    picture = np.full((100, 100, 3), 200, np.uint8)
    for roll in (0.0, 0.7):
        piece = Piece(0.0, 50.0, 80.0, roll)
        black = cut_piece(planar(picture), piece, 64, Pictures())
        assert black.min() == 0 and (black < 25).mean() > 0.4
        filled = cut_piece(planar(picture), piece, 64, Pictures(), edges=True)
        np.testing.assert_allclose(filled, 200, atol=5)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_turned_moved_and_larger_hand_is_looked_for_in_a_piece_turned_moved_and_larger(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 100, (len(HAND_JOINTS), 2))
    angle, scale = float(rng.uniform(-3, 3)), float(rng.uniform(0.5, 3))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array(((cos, sin), (-sin, cos)))  # rows times this: clockwise, as y goes down
    shift = rng.uniform(-50, 50, 2)
    one = Hand(points, 1.0, 1.0).piece
    # The box is that of the hand made upright, so it turns with the hand, but its middle is the picture's.
    other = Hand(scale * points @ turn + shift, 1.0, 1.0).piece
    assert np.angle(np.exp(1j * (other.roll - one.roll - angle))) == pytest.approx(0, abs=1e-9)
    assert other.side == pytest.approx(scale * one.side)
    np.testing.assert_allclose((other.x, other.y), scale * np.array((one.x, one.y)) @ turn + shift)


def test_the_piece_of_a_hand_holds_its_near_joints_and_points_upwards() -> None:
    points = np.zeros((21, 2))
    points[:, 0] = np.linspace(90, 110, 21)
    points[0], points[[5, 9, 13]] = (100, 200), ((95, 100), (100, 100), (105, 100))
    points[[1, 2, 3, 6, 10, 14, 17, 18], 1] = 150
    piece = Hand(points, 1.0, 1.0).piece
    assert piece.roll == pytest.approx(0, abs=0.05)
    assert piece.side == pytest.approx(2 * 100, rel=0.05)
    assert piece.y == pytest.approx(150 - 0.1 * 100, abs=1)
    left, top, right, bottom = piece.box
    inside = points[list(NEAR)]
    assert ((inside > (left, top)) & (inside < (right, bottom))).all()


def test_a_palm_that_points_right_is_looked_for_to_its_right() -> None:
    points = np.zeros((7, 2))
    points[0], points[2] = (50, 100), (90, 100)
    piece = piece_of_palm(Spot(np.array((40.0, 80, 80, 120)), points, 0.9))
    assert piece.roll == pytest.approx(np.pi / 2)
    assert (piece.x, piece.y, piece.side) == pytest.approx((60 + 20, 100, 104))


def test_a_body_that_lies_is_looked_for_lying() -> None:
    piece = piece_around(np.array((300.0, 200.0)), np.array((200.0, 200.0)))
    assert (piece.x, piece.y, piece.side, piece.roll) == pytest.approx((300, 200, 250, -np.pi / 2))


def test_heat_moves_points_as_a_slow_sum_says() -> None:
    rng = np.random.default_rng(5)
    heat = rng.normal(-2, 3, (64, 64, 6)).astype(np.float32)
    heat[:, :, 3] = -9  # nothing is hot
    points = rng.uniform(0, 1, (6, 2))
    points[4], points[5] = (1.2, 0.5), (0.01, 0.99)
    moved = with_heat(points, heat)
    for at in (0, 1, 2, 5):
        column, row = int(points[at, 0] * 64), int(points[at, 1] * 64)
        total = across = down = 0.0
        for r in range(max(0, row - 3), min(64, row + 4)):
            for c in range(max(0, column - 3), min(64, column + 4)):
                hot = 1 / (1 + np.exp(-float(heat[r, c, at])))
                total, across, down = total + hot, across + hot * c, down + hot * r
        np.testing.assert_allclose(moved[at], (across / total / 64, down / total / 64), rtol=1e-6)
    np.testing.assert_array_equal(moved[[3, 4]], points[[3, 4]])


def test_a_missing_model_names_both_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CORPUS_MODELS", str(tmp_path))
    with pytest.raises(MissingModelError, match="the model hands") as caught:
        networks.folder("hands")
    assert "corpus models pull hands" in caught.value.todo and "sight.hands = false" in caught.value.todo


def test_only_what_is_asked_for_is_part_of_the_key() -> None:
    names = [key.split()[0] for key in networks.keys(SightSettings(hands=True, bodies=True))]
    assert names == ["faces", "hands", "bodies"]
    assert networks.keys(SightSettings(faces=False)) == ()


THEIRS = {
    "nose": (269.8, 225.2),
    "left_eye": (305.1, 189.6),
    "right_eye": (230.2, 194.9),
    "left_ear": (339.4, 210.9),
    "right_ear": (195.0, 217.1),
    "left_shoulder": (455.6, 428.5),
    "right_shoulder": (95.6, 422.9),
}
"""The portrait that matplotlib ships, as `mp.solutions.pose` of MediaPipe 0.10.14 sees it (static pictures,
model complexity 1): joints in pixels, of those with a visibility of 1.00. It finds no hand."""


@pytest.fixture(scope="module")
def portrait() -> av.VideoFrame:
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        pytest.skip("matplotlib, whose portrait is looked at, is not installed")
    path = Path(spec.origin).parent / "mpl-data/sample_data/grace_hopper.jpg"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    try:
        find("hands"), find("bodies"), find("faces")
    except MissingModelError as error:
        pytest.skip(str(error))
    with av.open(str(path)) as container:
        return Pictures().planar(next(container.decode(video=0)))


@pytest.mark.models
def test_joints_are_where_another_program_sees_them(portrait: av.VideoFrame) -> None:
    pictures = Pictures()
    (person,) = PersonDetector(find("bodies"))(portrait, pictures)
    body = BodyJoints(find("bodies"))(portrait, person.piece, pictures)
    assert body.score > 0.9
    for name, place in THEIRS.items():
        at = BODY_JOINTS.index(name)
        # Two of the 256 pixels in which the network sees a piece four times as large as the picture.
        assert np.hypot(*(body.points[at] - place)) < 2 * person.piece.side / 256
        assert body.visible[at] > 0.95
    assert body.visible[BODY_JOINTS.index("left_hip")] < 0.1
    hands = [
        HandJoints(find("hands"))(portrait, palm.piece, pictures)
        for palm in PalmDetector(find("hands"))(portrait, pictures)
    ]
    assert all(hand.score < 0.5 for hand in hands)


@pytest.mark.models
def test_a_body_is_followed_through_a_film_and_kept(portrait: av.VideoFrame) -> None:
    watcher = Watcher(SightSettings(hands=True, bodies=True))
    for number in range(10):
        watcher(portrait, number * 80_000)
    seen = watcher.finish()
    assert seen.head.looked_for == ("faces", "hands", "bodies")
    ((body,), hands) = seen.head.bodies, seen.head.hands
    assert (body.frames, body.start_us, body.stop_us, hands) == (10, 0, 800_000, ())
    nose = seen.of_body(body.id)["points"][:, 0] * (512, 600)
    assert np.hypot(*(nose - THEIRS["nose"]).T).max() < 15
    box = seen.of_track(seen.head.tracks[0].id)["box"][0] * (512, 600, 512, 600)
    assert box[0] < nose[0, 0] < box[2] and box[1] < nose[0, 1] < box[3]
