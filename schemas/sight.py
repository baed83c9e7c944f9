"""What is seen in a recording: movement, cuts and faces at a set rate, as kept in the cache.

sight/   sight.json   Sight
         frames.npy   FRAME_DTYPE, one row per sampled picture, by time
         faces.npy    FACE_DTYPE, one row per face and sampled picture, by frame, then track

Places are fractions of the picture as it is shown, (0, 0) at its upper left; angles are degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Float32Array
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import FormatError
from corpus.schemas.span import Span

_SIGHT_FORM = "corpus.sight/1"
_SIGHT_FILE, _FRAMES_FILE, _FACES_FILE = "sight.json", "frames.npy", "faces.npy"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The head of what is seen. The file form `corpus.sight/1`."""

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
    tracks: tuple[FaceTrack, ...] = ()
    """By id."""
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

    @property
    def times_us(self) -> npt.NDArray[np.int64]:
        times: npt.NDArray[np.int64] = self.frames["time_us"]
        return times

    def of_track(self, track: int) -> Faces:
        """The track's rows, by time."""
        rows: Faces = self.faces[self.faces["track"] == track]
        return rows

    def mouth_movement(self, track: int) -> Float32Array:
        """The track's mouth movement in every sampled picture, NaN where it is not seen."""
        rows = self.of_track(track)
        movement = np.full(len(self.frames), np.nan, np.float32)
        movement[rows["frame"]] = rows["mouth_movement"]
        return movement


def write_sight(seen: Seen, folder: Path) -> None:
    """Write the three files into an existing folder."""
    np.save(folder / _FRAMES_FILE, seen.frames, allow_pickle=False)
    np.save(folder / _FACES_FILE, seen.faces, allow_pickle=False)
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
    if len(frames) != head.frames or (len(faces) and int(faces["frame"].max()) >= head.frames):
        raise FormatError("frames and faces are not those of the head", where=str(place))
    return Seen(head, frames, faces)


def _array(path: Path, dtype: npt.DTypeLike) -> npt.NDArray[np.void]:
    try:
        rows: npt.NDArray[np.void] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FormatError(f"no array: {error}", where=str(path)) from error
    if np.dtype(dtype) != rows.dtype or rows.ndim != 1:
        raise FormatError(f"rows are {rows.dtype}, expected {dtype}", where=str(path))
    return rows
