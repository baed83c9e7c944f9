"""What hands and bodies add: whose they are, where they are in every window, posture with its evidence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from corpus.align.cues.posture import DOUBTFUL, FIRM, PLAIN, posture
from corpus.align.look import look
from corpus.align.sight.joint_events import TOLD, joint_events
from corpus.align.sight.whose_joints import bodies_of_hands, faces_of_bodies
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Conversation
from corpus.schemas.joints import BODY_DTYPE, BODY_JOINTS, HAND_DTYPE, JointTrack
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import FACE_DTYPE, FRAME_DTYPE, FaceTrack, Seen, Sight

SETTINGS = VisualSettings()
PERIOD_US, FRAMES = 80_000, 250
AT = {name: number for number, name in enumerate(BODY_JOINTS)}
LEFT, RIGHT = AT["left_shoulder"], AT["right_shoulder"]
WHERE = (0.25, 0.65)
"""Of the two people's middles in the picture, which is 1000 by 500."""


@pytest.fixture
def seen() -> Seen:
    """Two people for 20 s with a face, a body and a right hand each, at rest."""
    frames = np.zeros(FRAMES, FRAME_DTYPE)
    frames["time_us"], frames["luma"], frames["contrast"] = np.arange(FRAMES) * PERIOD_US, 120, 40
    faces = np.zeros(2 * FRAMES, FACE_DTYPE)
    bodies, hands = np.zeros(2 * FRAMES, BODY_DTYPE), np.zeros(2 * FRAMES, HAND_DTYPE)
    for rows in (faces, bodies, hands):
        rows["frame"], rows["track"] = np.repeat(np.arange(FRAMES), 2), np.tile([0, 1], FRAMES)
        rows["score"] = 1
    rng = np.random.default_rng(0)
    x = np.array(WHERE)[faces["track"]]
    faces["box"] = np.stack((x - 0.04, np.full(len(x), 0.2), x + 0.04, np.full(len(x), 0.36)), axis=1)
    faces["points"] = rng.uniform(0, 0.1, faces["points"].shape)
    bodies["track"] = 1 - bodies["track"]  # numbered the other way round
    x = np.array(WHERE)[1 - bodies["track"]]
    bodies["points"] = 0.9
    bodies["visible"][:, :13] = 1
    bodies["points"][:, AT["nose"]] = np.stack((x, np.full(len(x), 0.3)), axis=1)
    # 133 pixels from shoulder to shoulder, so heads count 80 pixels.
    for joint, side in ((LEFT, 1), (RIGHT, -1)):
        bodies["points"][:, joint] = np.stack((x + side * 0.0667, np.full(len(x), 0.5)), axis=1)
    bodies["points"][:, AT["right_wrist"]] = np.stack((x - 0.1, np.full(len(x), 0.8)), axis=1)
    bodies["visible"][:, AT["right_wrist"]] = 1
    x = np.array(WHERE)[hands["track"]]
    hands["right"] = 0.9
    hands["points"][:, :, 0] = x[:, None] - 0.1 + np.linspace(0, 0.04, 21)
    hands["points"][:, :, 1] = 0.8 - np.linspace(0, 0.08, 21)
    tracks = tuple(JointTrack(id=n, start_us=0, stop_us=20_000_000, frames=FRAMES) for n in (0, 1))
    head = Sight(
        rate_hz=12.5,
        width=1000,
        height=500,
        start_us=0,
        stop_us=20_000_000,
        frames=FRAMES,
        looked_for=("faces", "hands", "bodies"),
        tracks=tuple(
            FaceTrack(id=n, start_us=0, stop_us=20_000_000, frames=FRAMES, still=False) for n in (0, 1)
        ),
        hands=tracks,
        bodies=tracks,
    )
    bodies = bodies[np.lexsort((bodies["track"], bodies["frame"]))]
    return Seen(head, frames, faces, hands, bodies)


def test_a_body_goes_with_the_face_its_nose_is_in_and_a_hand_with_its_wrist(seen: Seen) -> None:
    assert faces_of_bodies(seen) == {0: 1, 1: 0}
    assert bodies_of_hands(seen) == {0: 1, 1: 0}
    seen.bodies["points"][:, AT["nose"], 1] = 0.5
    seen.bodies["visible"][:, AT["right_wrist"]] = 0.2
    assert faces_of_bodies(seen) == {} and bodies_of_hands(seen) == {}


def later(seen: Seen, rows: np.ndarray, track: int) -> np.ndarray:
    marks: np.ndarray = (seen.times_us[rows["frame"]] >= 9_000_000) & (rows["track"] == track)
    return marks


def test_shoulders_that_go_with_the_head_bear_its_posture_out(seen: Seen) -> None:
    seen.faces["box"][later(seen, seen.faces, 0)] += (0, 0.1, 0, 0.1)
    (cue,) = posture(seen, {0: "A"}, SETTINGS)
    assert abs(cue.start_us - 9_000_000) <= 2 * PERIOD_US and cue.speaker == "A"
    assert cue.confidence == DOUBTFUL  # the shoulders stayed
    assert json.loads(cue.evidence)["shoulders_heights"] == pytest.approx(0, abs=0.01)
    moved = later(seen, seen.bodies, 1)
    for joint in (LEFT, RIGHT):
        seen.bodies["points"][moved, joint, 1] += 0.1
    (cue,) = posture(seen, {0: "A"}, SETTINGS)
    assert cue.confidence == FIRM
    # 50 pixels of 80.
    assert json.loads(cue.evidence) == {
        "body": 1,
        "heights": pytest.approx(0.625, abs=0.01),
        "shoulders_heights": pytest.approx(0.625, abs=0.01),
        "track": 0,
    }
    (cue,) = posture(Seen(seen.head, seen.frames, seen.faces), {0: "A"}, SETTINGS)
    assert cue.confidence == PLAIN and "body" not in json.loads(cue.evidence)


def test_a_body_changes_posture_where_its_face_is_not_seen(seen: Seen) -> None:
    moved = later(seen, seen.bodies, 0)
    for joint, x in ((LEFT, 0.01), (RIGHT, -0.01)):
        seen.bodies["points"][moved, joint, 0] = WHERE[1] + x  # turned aside
    (cue,) = posture(seen, {1: "B"}, SETTINGS)
    assert (cue.speaker, cue.confidence) == ("B", PLAIN)
    bare = Seen(replace(seen.head, tracks=()), seen.frames, seen.faces[:0], seen.hands, seen.bodies)
    (cue,) = posture(bare, {}, SETTINGS)
    assert cue.speaker is None and abs(cue.start_us - 9_000_000) <= 2 * PERIOD_US
    seen.bodies["visible"][:, LEFT] = 0.3  # not visible: no label
    assert posture(seen, {1: "B"}, SETTINGS) == []


def test_joints_stand_in_their_windows(seen: Seen) -> None:
    hidden = seen.bodies["frame"] == 12
    seen.bodies["visible"][hidden, LEFT] = 0.4
    gone = np.isin(seen.hands["frame"], [100, 101, 102]) & (seen.hands["track"] == 1)  # all of one window
    kept = Seen(seen.head, seen.frames, seen.faces, seen.hands[~gone], seen.bodies)
    events = joint_events(kept, {0: "A"})
    assert {(e.label, e.kind, e.speaker) for e in events} == {
        ("hand", "right", "A"),
        ("hand", "right", None),
        ("body", "", "A"),
        ("body", "", None),
    }
    assert len(events) == 4 * 4 and all(e.stop_us - e.start_us == 25 * WINDOW_US for e in events)
    payload = json.loads(next(e for e in events if e.label == "body" and e.speaker == "A").payload)
    assert payload["names"] == list(TOLD) and payload["shape"] == [1000, 500]
    joints = payload["joints"]
    assert joints[0][TOLD.index("nose")] == [250, 300]
    assert joints[0][TOLD.index("left_hip")] is None
    assert joints[4][TOLD.index("left_shoulder")] is None  # picture 12 is the last of its window
    assert joints[5][TOLD.index("left_shoulder")] == [317, 500]
    second = [e for e in events if e.label == "hand" and e.speaker is None][1]
    told = json.loads(second.payload)["joints"]
    assert second.start_us == 5_000_000 and told[0][0] == [550, 800]
    at = (100 * PERIOD_US - second.start_us) // WINDOW_US
    assert [n for n, joints in enumerate(told) if joints is None] == [at]


def test_a_look_at_bodies_gives_their_events(seen: Seen) -> None:
    conversation = Conversation(recording="r", duration_us=20_000_000, speakers=())
    labels = [event.label for event in look(conversation, seen, SETTINGS).events]
    assert labels.count("hand") == labels.count("body") == 8
