"""Features that need all pictures: mouth movement, long enough tracks, faces that never move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from corpus.schemas.clock import US
from corpus.schemas.joints import JointTrack
from corpus.schemas.sight import Faces, FaceTrack, Frames, PictureHole, Seen, Sight

_MOVEMENT_US = 500_000
"""A mouth's movement is the standard deviation of its opening over this time."""
_SHORTEST_TRACK_US = 500_000
"""Shorter tracks are left out."""
_STILL_POINTS = 0.006
"""Relative movement of a face's points, in face heights, below which nothing in it moves."""


def with_mouth_movement(faces: Faces, frames: Frames) -> Faces:
    """The rows with the deviation of `mouth` over the half second around each, within its track."""
    for rows in _tracks(faces).values():
        times = frames["time_us"][faces["frame"][rows]]
        mouth = faces["mouth"][rows].astype(np.float64)
        starts = np.searchsorted(times, times - _MOVEMENT_US // 2, "left")
        stops = np.searchsorted(times, times + _MOVEMENT_US // 2, "right")
        faces["mouth_movement"][rows] = [mouth[a:b].std() for a, b in zip(starts, stops, strict=True)]
    return faces


def head_of(
    frames: Frames,
    faces: Faces,
    size: tuple[int, int],
    holes: Sequence[tuple[int, int]],
    rate_hz: float,
) -> tuple[Sight, Faces]:
    """The head, and the rows of tracks that are long enough."""
    times = frames["time_us"]
    period_us = round(US / rate_hz)
    tracks: list[FaceTrack] = []
    for track, rows in sorted(_tracks(faces).items()):
        seen = faces[rows]
        start_us, stop_us = int(times[seen["frame"][0]]), int(times[seen["frame"][-1]]) + period_us
        if stop_us - start_us < _SHORTEST_TRACK_US:
            continue
        still = _points_movement(seen) < _STILL_POINTS
        tracks.append(
            FaceTrack(id=track, start_us=start_us, stop_us=stop_us, frames=len(seen), still=bool(still))
        )
    kept = np.isin(faces["track"], [track.id for track in tracks])
    head = Sight(
        rate_hz=rate_hz,
        width=size[0],
        height=size[1],
        start_us=int(times[0]) if len(times) else 0,
        stop_us=int(times[-1]) + period_us if len(times) else 0,
        frames=len(frames),
        tracks=tuple(tracks),
        holes=tuple(PictureHole(start_us=a, stop_us=b) for a, b in holes),
    )
    return head, faces[kept]


def with_joints(seen: Seen) -> Seen:
    """The same with long enough tracks of hands and bodies, and these tracks in the head."""
    hands, hand_tracks = _lasting(seen.hands, seen)
    bodies, body_tracks = _lasting(seen.bodies, seen)
    head = replace(seen.head, hands=hand_tracks, bodies=body_tracks)
    return Seen(head, seen.frames, seen.faces, hands, bodies)


def _lasting(rows: npt.NDArray[np.void], seen: Seen) -> tuple[npt.NDArray[np.void], tuple[JointTrack, ...]]:
    tracks: list[JointTrack] = []
    for track, at in sorted(_tracks(rows).items()):
        times = seen.times_us[rows["frame"][at]]
        start_us, stop_us = int(times[0]), int(times[-1]) + seen.head.period_us
        if stop_us - start_us >= _SHORTEST_TRACK_US:
            tracks.append(JointTrack(id=track, start_us=start_us, stop_us=stop_us, frames=len(at)))
    kept = rows[np.isin(rows["track"], [track.id for track in tracks])]
    return kept, tuple(tracks)


def _tracks(rows: npt.NDArray[np.void]) -> dict[int, npt.NDArray[np.intp]]:
    """Rows of each track, by time."""
    return {int(track): np.flatnonzero(rows["track"] == track) for track in np.unique(rows["track"])}


def _points_movement(seen: Faces) -> float:
    """Deviation of the points against each other over the track, in face heights.

    The face's place, size and rotation in the picture are removed: a shaking camera moves a poster, too.
    """
    points = seen["points"].astype(np.float64)
    height = np.maximum(seen["box"][:, 3] - seen["box"][:, 1], 1e-6)
    width = np.maximum(seen["box"][:, 2] - seen["box"][:, 0], 1e-6)
    centred = points - points.mean(1, keepdims=True)
    shape = np.stack((centred[:, :, 0] / width[:, None], centred[:, :, 1] / height[:, None]), axis=2)
    moved = shape - np.median(shape, axis=0)
    return float(np.percentile(np.sqrt((moved**2).sum(2)).mean(1), 90))
