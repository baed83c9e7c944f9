"""What is seen in a recording: movement, cuts, faces, hands and bodies at a set rate, as kept in the cache.

sight/   sight.json   Sight
         frames.npy   FRAME_DTYPE, one row per sampled picture, by time
         faces.npy    FACE_DTYPE, one row per face and sampled picture, by frame, then track
         hands.npy    HAND_DTYPE of schemas/joints.py, one row per hand, likewise
         bodies.npy   BODY_DTYPE of schemas/joints.py, one row per body, likewise

The last two are there where the head says that hands or bodies were looked for.

Places are fractions of the picture as it is shown, (0, 0) at its upper left; angles are degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Float32Array
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import FormatError
from corpus.schemas.joints import (
    BODY_DTYPE,
    HAND_DTYPE,
    Bodies,
    Hands,
    JointTrack,
    no_bodies,
    no_hands,
)
from corpus.schemas.span import Span

_SIGHT_FORM = "corpus.sight/2"
_SIGHT_FILE, _FRAMES_FILE, _FACES_FILE = "sight.json", "frames.npy", "faces.npy"
_HANDS_FILE, _BODIES_FILE = "hands.npy", "bodies.npy"

Sort = Literal["faces", "hands", "bodies"]

THUMB_ROWS, THUMB_COLUMNS = 11, 20
FRAME_DTYPE: npt.DTypeLike = np.dtype(
    [
        ("time_us", "<i8"),
        ("motion", "<f4"),
        ("cut", "<f4"),
        ("luma", "<f4"),
        ("contrast", "<f4"),
        ("thumb", "u1", (THUMB_ROWS, THUMB_COLUMNS)),
    ]
)
"""`motion`: grey levels by which the part that changed most did so since the sampled picture before, the
camera's own shift and noise taken off. `cut`: in [0, 1], how little is left of the picture before. Both
are 0 in the first row and behind a hole. `luma`, `contrast`: mean and deviation of the brightness, 0 to
255. `thumb`: brightness of the picture's parts."""

POINTS: dict[str, int] = {
    "forehead": 10,
    "chin": 152,
    "nose": 1,
    "right_cheek": 234,
    "left_cheek": 454,
    "right_eye_outer": 33,
    "right_eye_inner": 133,
    "right_eye_upper": 159,
    "right_eye_lower": 145,
    "left_eye_inner": 362,
    "left_eye_outer": 263,
    "left_eye_upper": 386,
    "left_eye_lower": 374,
    "right_brow": 105,
    "left_brow": 334,
    "right_mouth_corner": 61,
    "left_mouth_corner": 291,
    "upper_lip": 0,
    "lower_lip": 17,
    "upper_lip_inner": 13,
    "lower_lip_inner": 14,
}
"""The points of a face that are kept, in order, and their place in the mesh of 468; sides are the face's."""

FACE_DTYPE: npt.DTypeLike = np.dtype(
    [
        ("frame", "<i4"),
        ("track", "<i4"),
        ("box", "<f4", (4,)),
        ("score", "<f4"),
        ("mouth", "<f4"),
        ("mouth_movement", "<f4"),
        ("pose", "<f4", (3,)),
        ("points", "<f4", (len(POINTS), 2)),
    ]
)
"""`box`: left, top, right, bottom. `score`: in [0, 1], how sure it is that this is a face. `mouth`: how far
the inner lips are apart, as a share of the face's height. `mouth_movement`: the deviation of `mouth` over
half a second around. `pose`: yaw (positive: towards the picture's right), pitch (positive: down), roll
(positive: clockwise)."""

Frames = npt.NDArray[np.void]
Faces = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTrack:
    """One face followed from picture to picture. A cut ends every track; whose face it is is not known."""

    id: int
    start_us: int
    stop_us: int
    frames: int
    """Sampled pictures in which it was seen."""
    still: bool
    """Nothing in it ever moves: a face in a poster, a slide or a frozen picture."""

    @property
    def span(self) -> Span:
        return Span(self.start_us, self.stop_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureHole:
    """A stretch without a new picture for over a second."""

    start_us: int
    stop_us: int

    @property
    def span(self) -> Span:
        return Span(self.start_us, self.stop_us)


def _from_1(plain: dict[str, Any]) -> dict[str, Any]:
    """A head as `/1` wrote it: it did not say whether faces were looked for, and nothing else was."""
    rest = {name: value for name, value in plain.items() if name != "schema"}
    return {**rest, "looked_for": ["faces"] if plain.get("models") else []}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The head of what is seen. The file form `corpus.sight/2`; `/1` had no hands and bodies."""

    older: ClassVar[dict[str, Any]] = {"corpus.sight/1": _from_1}

    schema: str = _SIGHT_FORM
    rate_hz: float
    """Pictures sampled a second at most; fewer where the video has fewer."""
    width: int
    height: int
    """Of the picture as it is shown, in pixels; 0 where there was none."""
    start_us: int
    stop_us: int
    """From the first sampled picture to one sampling period behind the last."""
    frames: int
    looked_for: tuple[Sort, ...] = ()
    """Besides movement and cuts. What was not looked for is not known, rather than not there."""
    tracks: tuple[FaceTrack, ...] = ()
    """Of faces, by id."""
    hands: tuple[JointTrack, ...] = ()
    bodies: tuple[JointTrack, ...] = ()
    holes: tuple[PictureHole, ...] = ()
    models: tuple[str, ...] = ()
    """Names and hashes of the models that looked."""

    @property
    def period_us(self) -> int:
        return round(1_000_000 / self.rate_hz)


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that is seen in a recording."""

    head: Sight
    frames: Frames
    faces: Faces
    hands: Hands = field(default_factory=no_hands)
    bodies: Bodies = field(default_factory=no_bodies)

    @property
    def times_us(self) -> npt.NDArray[np.int64]:
        times: npt.NDArray[np.int64] = self.frames["time_us"]
        return times

    def of_track(self, track: int) -> Faces:
        """The face's rows, by time."""
        rows: Faces = self.faces[self.faces["track"] == track]
        return rows

    def of_hand(self, track: int) -> Hands:
        """The hand's rows, by time."""
        rows: Hands = self.hands[self.hands["track"] == track]
        return rows

    def of_body(self, track: int) -> Bodies:
        """The body's rows, by time."""
        rows: Bodies = self.bodies[self.bodies["track"] == track]
        return rows

    def mouth_movement(self, track: int) -> Float32Array:
        """The track's mouth movement in every sampled picture, NaN where it is not seen."""
        rows = self.of_track(track)
        movement = np.full(len(self.frames), np.nan, np.float32)
        movement[rows["frame"]] = rows["mouth_movement"]
        return movement


def write_sight(seen: Seen, folder: Path) -> None:
    """Write the files into an existing folder."""
    np.save(folder / _FRAMES_FILE, seen.frames, allow_pickle=False)
    np.save(folder / _FACES_FILE, seen.faces, allow_pickle=False)
    if "hands" in seen.head.looked_for:
        np.save(folder / _HANDS_FILE, seen.hands, allow_pickle=False)
    if "bodies" in seen.head.looked_for:
        np.save(folder / _BODIES_FILE, seen.bodies, allow_pickle=False)
    (folder / _SIGHT_FILE).write_text(to_json(seen.head) + "\n", encoding="utf-8")


def read_sight(folder: Path) -> Seen:
    """What `write_sight` wrote.

    Raises:
        FormatError: a file is not of this form, or the files do not belong together.
    """
    place = folder / _SIGHT_FILE
    head = from_json(Sight, place.read_bytes(), where=str(place))
    frames = _array(folder / _FRAMES_FILE, FRAME_DTYPE)
    faces = _array(folder / _FACES_FILE, FACE_DTYPE)
    hands = _array(folder / _HANDS_FILE, HAND_DTYPE) if "hands" in head.looked_for else no_hands()
    bodies = _array(folder / _BODIES_FILE, BODY_DTYPE) if "bodies" in head.looked_for else no_bodies()
    if len(frames) != head.frames or any(
        len(rows) and not 0 <= rows["frame"].min() <= rows["frame"].max() < head.frames
        for rows in (faces, hands, bodies)
    ):
        raise FormatError("frames, faces, hands or bodies do not match the head", where=str(place))
    return Seen(head, frames, faces, hands, bodies)


def _array(path: Path, dtype: npt.DTypeLike) -> npt.NDArray[np.void]:
    try:
        rows: npt.NDArray[np.void] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, FileNotFoundError) as error:
        raise FormatError(f"is not an array: {error}", where=str(path)) from error
    if np.dtype(dtype) != rows.dtype or rows.ndim != 1:
        raise FormatError(f"rows are {rows.dtype}, expected {dtype}", where=str(path))
    return rows
