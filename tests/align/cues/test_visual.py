"""Visual labels against videos and tracks whose truth is known."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from corpus.align.cues.bearing import gaze_away
from corpus.align.cues.faces import faces
from corpus.align.cues.head import head, turning_points
from corpus.align.cues.motion import motion
from corpus.align.cues.posture import posture
from corpus.align.cues.repetition import repetition
from corpus.align.cues.scene_cut import scene_cut
from corpus.align.look import look
from corpus.align.sight.who import voice_marks, whose_faces
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Conversation, Turn
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import FACE_DTYPE, FRAME_DTYPE, FaceTrack, PictureHole, Seen, Sight
from corpus.schemas.span import Span

SETTINGS = VisualSettings()
PERIOD_US = 80_000


@pytest.fixture(scope="module")
def truth() -> ModuleType:
    """The generator of videos, seen_truth.py."""
    path = Path(__file__).with_name("seen_truth.py")
    spec = importlib.util.spec_from_file_location("seen_truth", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["seen_truth"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [2000, 2001, 2002])
def test_movements_are_counted_and_their_begin_and_end_found(truth: ModuleType, seed: int) -> None:
    film = truth.counted(seed, longest_s=5)
    (cue,) = repetition(film.seen, SETTINGS)
    assert json.loads(cue.evidence)["count"] == film.count == len(cue.spans)
    starts = [c.start_us for c in motion(film.seen, SETTINGS) if c.kind == "motion_start"]
    stops = [c.start_us for c in motion(film.seen, SETTINGS) if c.kind == "motion_stop"]
    assert abs(starts[0] - film.start_us) <= WINDOW_US
    assert abs(stops[-1] - film.stop_us) <= WINDOW_US


def test_a_cut_is_a_cut_and_no_movement(truth: ModuleType) -> None:
    seen = truth.with_cut(5).seen
    (cue,) = scene_cut(seen, SETTINGS)
    assert abs(cue.start_us - truth.CUT_US) <= WINDOW_US
    assert motion(seen, SETTINGS) == []


@pytest.mark.parametrize("slides", [(0, 1, 2, 3, 4), (0, 1, 0, 1, 0, 1)])
def test_a_slide_show_is_cut_at_each_slide_and_nothing_moves_in_it(
    truth: ModuleType, slides: tuple[int, ...]
) -> None:
    """Nor is it repeated where it goes back and forth between two slides."""
    rng = np.random.default_rng(11)
    rooms = [truth.room(rng) for _ in range(5)]
    seconds = 3
    pictures = [rooms[slide] for slide in slides for _ in range(seconds * truth.RATE)]
    seen = truth.film(pictures, rng, noise=4.0, shake_px=0.0)
    cuts_us = [cue.start_us for cue in scene_cut(seen, SETTINGS)]
    assert len(cuts_us) == len(slides) - 1
    for number, cut_us in enumerate(cuts_us, 1):
        assert abs(cut_us - number * seconds * 1_000_000) <= WINDOW_US
    assert motion(seen, SETTINGS) == [] and repetition(seen, SETTINGS) == []


def test_a_flash_is_a_movement_and_no_cut(truth: ModuleType) -> None:
    film = truth.with_flash(6)
    assert scene_cut(film.seen, SETTINGS) == []
    start, stop = motion(film.seen, SETTINGS)
    assert (start.kind, stop.kind) == ("motion_start", "motion_stop")
    assert abs(start.start_us - film.start_us) <= WINDOW_US
    assert abs(stop.start_us - film.stop_us) <= WINDOW_US


# --- faces that are made up -------------------------------------------------------------------


def with_faces(
    seconds: float,
    tracks: dict[int, tuple[float, float]],
    *,
    still: tuple[int, ...] = (),
    holes: tuple[tuple[int, int], ...] = (),
) -> Seen:
    """Faces from one second to another, side by side, in a picture in which nothing else moves."""
    frames = np.zeros(round(seconds * 12.5), FRAME_DTYPE)
    frames["time_us"] = np.arange(len(frames)) * PERIOD_US
    frames["luma"], frames["contrast"] = 120, 40
    rows = []
    for track, (start_s, stop_s) in tracks.items():
        for frame in range(round(start_s * 12.5), round(stop_s * 12.5)):
            row = np.zeros((), FACE_DTYPE)
            left = 0.05 + 0.2 * track
            row["frame"], row["track"], row["box"] = frame, track, (left, 0.2, left + 0.1, 0.4)
            rows.append(row)
    found = np.array(sorted(rows, key=lambda r: (r["frame"], r["track"])), FACE_DTYPE)
    head_of = Sight(
        rate_hz=12.5,
        width=1280,
        height=720,
        start_us=0,
        stop_us=len(frames) * PERIOD_US,
        frames=len(frames),
        tracks=tuple(
            FaceTrack(
                id=track,
                start_us=round(a * 12.5) * PERIOD_US,
                stop_us=round(b * 12.5) * PERIOD_US,
                frames=round(b * 12.5) - round(a * 12.5),
                still=track in still,
            )
            for track, (a, b) in tracks.items()
        ),
        holes=tuple(PictureHole(start_us=a, stop_us=b) for a, b in holes),
    )
    return Seen(head_of, frames, found)


def talking(*turns: tuple[str, float, float], seconds: float = 20) -> Conversation:
    spans = [Turn(speaker=s, start_us=round(a * 1e6), stop_us=round(b * 1e6)) for s, a, b in turns]
    names = tuple(dict.fromkeys(turn.speaker for turn in spans))
    return Conversation(recording="r", duration_us=round(seconds * 1e6), speakers=names, turns=tuple(spans))


def move_mouth(seen: Seen, track: int, spans: list[tuple[float, float]]) -> None:
    rows = np.flatnonzero(seen.faces["track"] == track)
    times = seen.times_us[seen.faces["frame"][rows]]
    noise = np.random.default_rng(track).uniform(0, 0.006, len(rows))
    marks = voice_marks([Span(round(a * 1e6), round(b * 1e6)) for a, b in spans], times)
    seen.faces["mouth_movement"][rows] = noise + 0.02 * marks


TALK = talking(("A", 1, 4), ("B", 5, 9), ("A", 9.5, 12), ("B", 13, 16))


def test_whose_face_is_whose_voice() -> None:
    seen = with_faces(20, {0: (0, 20), 1: (0, 20)})
    move_mouth(seen, 0, [(5, 9), (13, 16)])
    move_mouth(seen, 1, [(1, 4), (9.5, 12)])
    found = whose_faces(seen, TALK, SETTINGS)
    assert {track: match.speaker for track, match in found.items()} == {0: "B", 1: "A"}
    events = look(TALK, seen, SETTINGS).events
    speaking = [(e.speaker, e.start_us, e.stop_us) for e in events if e.label == "seen_speaking"]
    assert ("A", 1_000_000, 4_000_000) in speaking and ("B", 5_000_000, 9_000_000) in speaking


def test_a_mouth_that_follows_no_voice_is_nobodys() -> None:
    seen = with_faces(20, {0: (0, 20), 1: (0, 20)}, still=(1,))
    move_mouth(seen, 0, [(2, 3), (7, 8), (10, 11), (14, 14.5), (17, 19)])
    move_mouth(seen, 1, [(1, 4), (9.5, 12)])  # the picture of a face: whatever its numbers say
    assert whose_faces(seen, TALK, SETTINGS) == {}
    drops = {drop.code for drop in look(TALK, seen, SETTINGS).drops}
    assert drops == {"nobodys_face", "still_face"}


def test_two_faces_at_one_time_are_not_the_same_speakers() -> None:
    seen = with_faces(20, {0: (0, 20), 1: (0, 20)})
    move_mouth(seen, 0, [(1, 4), (9.5, 12)])
    move_mouth(seen, 1, [(1, 4), (9.5, 11.5)])
    assert {t: m.speaker for t, m in whose_faces(seen, TALK, SETTINGS).items()} == {0: "A"}


def test_faces_that_come_and_go() -> None:
    seen = with_faces(20, {0: (0, 20), 1: (6, 14)})
    found = [(c.kind, c.start_us) for c in faces(seen, {}, SETTINGS)]
    assert found == [("face_enter", 6_000_000), ("face_leave", 14_000_000)]


def test_a_face_that_a_hole_or_a_cut_ends_has_not_left() -> None:
    seen = with_faces(20, {0: (0, 8), 1: (12, 20)}, holes=((8_000_000, 12_000_000),))
    assert faces(seen, {}, SETTINGS) == []
    seen = with_faces(20, {0: (0, 8), 1: (8.4, 20)})
    seen.frames["cut"][100], seen.frames["thumb"][100:] = 0.9, 200
    assert faces(seen, {}, SETTINGS) == []


def test_a_poster_neither_enters_nor_leaves() -> None:
    assert faces(with_faces(20, {1: (6, 14)}, still=(1,)), {}, SETTINGS) == []


def nodding(axis: int, degrees: float, swing_s: float) -> Seen:
    seen = with_faces(20, {0: (0, 20)})
    times = seen.times_us[seen.faces["frame"]] / 1e6
    inside = (times >= 8) & (times < 8 + 4 * swing_s)
    seen.faces["pose"][:, axis] = np.where(inside, degrees * np.sin((times - 8) * np.pi / swing_s), 0)
    return seen


def test_nods_and_shakes() -> None:
    for axis, kind in ((1, "nod"), (0, "shake")):
        (cue,) = head(nodding(axis, 8, 0.4), {0: "A"}, SETTINGS)
        assert (cue.kind, cue.speaker) == (kind, "A")
        assert 7_900_000 <= cue.start_us < cue.stop_us <= 9_800_000
        assert head(nodding(axis, 1.5, 0.4), {}, SETTINGS) == []  # too small
        assert head(nodding(axis, 8, 1.5), {}, SETTINGS) == []  # too slow: a look up and down


def test_nothing_is_said_of_nods_while_the_jaw_moves() -> None:
    seen = nodding(1, 8, 0.4)
    seen.faces["mouth_movement"] = 0.03
    assert head(seen, {}, SETTINGS) == []


def test_turning_points_alternate() -> None:
    angles = np.array([0, 1, 5, 4, 0, 0.5, 5, 5.5, -2, -1.5], float)
    assert turning_points(angles, 4) == [0, 2, 4, 7, 8]


def test_a_head_turned_away_and_back() -> None:
    seen = with_faces(20, {0: (0, 20)})
    times = seen.times_us[seen.faces["frame"]]
    seen.faces["pose"][(times >= 5_000_000) & (times < 7_000_000), 0] = 40
    seen.faces["pose"][(times >= 10_000_000) & (times < 10_500_000), 0] = 40  # too short
    ((kind, start_us, stop_us),) = [(c.kind, c.start_us, c.stop_us) for c in gaze_away(seen, {}, SETTINGS)]
    assert kind == "gaze_away"
    assert abs(start_us - 5_000_000) <= PERIOD_US and abs(stop_us - 7_000_000) <= PERIOD_US


def test_who_leans_back_and_stays_changes_posture() -> None:
    seen = with_faces(20, {0: (0, 20)})
    times = seen.times_us[seen.faces["frame"]]
    seen.faces["box"][times >= 9_000_000] += (0, 0.15, 0, 0.15)
    ((kind, start_us),) = [(c.kind, c.start_us) for c in posture(seen, {}, SETTINGS)]
    assert kind == "posture" and abs(start_us - 9_000_000) <= 2 * PERIOD_US
    seen.faces["box"][times >= 9_800_000] -= (0, 0.15, 0, 0.15)  # down and up again
    assert posture(seen, {}, SETTINGS) == []


def test_a_black_picture_is_said_and_not_labelled() -> None:
    seen = with_faces(20, {})
    seen.frames["luma"], seen.frames["contrast"] = 16, 0.5
    looked = look(TALK, seen, SETTINGS)
    assert (looked.cues, looked.events) == ((), ())
    assert [(m.label, m.made, m.reason) for m in looked.made] == [("visual", False, "the picture is black")]
    seen.frames["luma"][:100] = 120
    looked = look(TALK, seen, SETTINGS)
    assert [(d.code, d.start_us) for d in looked.drops] == [("black_picture", 8_000_000)]
    assert looked.made[0].made
