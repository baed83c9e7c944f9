"""The observer that decoding calls with every frame."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import numpy as np

from corpus.align.sight import networks
from corpus.align.sight.changes import Changes
from corpus.align.sight.detector import Detector
from corpus.align.sight.joint_watch import JointWatch
from corpus.align.sight.mesh import Face, Mesh
from corpus.align.sight.motion import cut, motion, thumb
from corpus.align.sight.picture import Grey, Pictures, upright_size
from corpus.align.sight.pose import head_pose, mouth_opening
from corpus.align.sight.summary import head_of, with_joints, with_mouth_movement
from corpus.align.sight.tracks import Tracker
from corpus.schemas.clock import US
from corpus.schemas.drops import Drop
from corpus.schemas.settings import SightSettings
from corpus.schemas.sight import FACE_DTYPE, FRAME_DTYPE, POINTS, Seen, write_sight

_FORGET_CUT = 0.5
"""A picture less than half like the previous one is a new scene, and tracks are forgotten."""
_HOLE_US = US
"""A longer time without a new picture is a hole."""


_KEPT = np.array(tuple(POINTS.values()))


class Watcher:
    """Receives every frame of a recording's video in order of presentation, and examines some of them."""

    def __init__(self, settings: SightSettings) -> None:
        self._settings = settings
        self._period_us = round(US / settings.rate_hz)
        self._pictures = Pictures()
        self._changes = Changes(1.0, below=True)
        self._tracker = Tracker[Face](settings.most_faces, changes=self._changes)
        self._joints = JointWatch(settings)
        self._grey: Grey | None = None
        self._time_us = -1
        self._last_us = 0
        self._holes: list[tuple[int, int]] = []
        self._size = (0, 0)
        self._frames, self._faces = bytearray(), bytearray()
        self._count = 0

    def __call__(self, frame: av.VideoFrame, time_us: int) -> None:
        """Examine the frame if it is the first of its period.

        Raises:
            MissingModelError, MissingDependencyError: the models are missing; raised at the first frame,
                because a recording without pictures does not need them.
        """
        if self._count and time_us - self._last_us > _HOLE_US:
            self._holes.append((self._last_us, time_us))
            self._grey = None
            self._forget()
        self._last_us = time_us
        # Frames of one period look alike, so the first is enough.
        if self._count and time_us // self._period_us == self._time_us // self._period_us:
            return
        self._time_us = time_us
        self._look(frame, time_us)

    def _look(self, frame: av.VideoFrame, time_us: int) -> None:
        grey = self._pictures.grey(frame)
        row = np.zeros(1, FRAME_DTYPE)
        row["time_us"], row["thumb"] = time_us, thumb(grey)
        row["luma"], row["contrast"] = grey.mean(), grey.std()
        if self._grey is not None:
            row["motion"], row["cut"] = motion(self._grey, grey), cut(self._grey, grey)
            if row["cut"][0] >= _FORGET_CUT:
                self._forget()
        self._grey, self._size = grey, upright_size(frame)
        self._frames += row.tobytes()
        self._changes.see(row["thumb"][0], self._size)
        if networks.looked_for(self._settings):
            planar = self._pictures.planar(frame)
            if self._settings.faces:
                self._look_for_faces(planar, time_us)
            self._joints.look(planar, time_us, self._count, row["thumb"][0], self._pictures)
        self._count += 1

    def _forget(self) -> None:
        self._tracker.forget()
        self._joints.forget()

    def _look_for_faces(self, planar: av.VideoFrame, time_us: int) -> None:
        detector, mesh = _networks()
        faces = self._tracker.step(
            time_us,
            lambda piece: mesh(planar, piece, self._pictures),
            lambda: detector(planar, self._pictures),
        )
        for track, face in faces:
            self._faces += _row(self._count, track, face, self._size).tobytes()

    def finish(self) -> Seen:
        """Everything seen; empty without frames."""
        frames = np.frombuffer(bytes(self._frames), FRAME_DTYPE)
        faces = with_mouth_movement(np.frombuffer(bytes(self._faces), FACE_DTYPE).copy(), frames)
        head, faces = head_of(frames, faces, self._size, self._holes, self._settings.rate_hz)
        head = replace(
            head,
            looked_for=networks.looked_for(self._settings),
            models=networks.keys(self._settings),
        )
        return with_joints(Seen(head, frames, faces, self._joints.hands, self._joints.bodies))

    def write(self, folder: Path) -> list[Drop]:
        """Write what was seen into an existing folder; returns a Drop for each hole."""
        seen = self.finish()
        write_sight(seen, folder)
        return [
            Drop(
                item="",
                stage="sight",
                kind="trim",
                code="picture_hole",
                reason=f"no new picture for {(hole.stop_us - hole.start_us) / US:.1f} s: "
                "nothing is said of what may be seen there",
                start_us=hole.start_us,
                stop_us=hole.stop_us,
            )
            for hole in seen.head.holes
        ]


@cache
def _networks() -> tuple[Detector, Mesh]:
    """Opened once per worker."""
    folder = networks.folder("faces")
    return Detector(folder), Mesh(folder)


def _row(
    frame: int, track: int, face: Face, size: tuple[int, int]
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    row = np.zeros(1, FACE_DTYPE)
    row[0] = (
        *(frame, track, face.box / (*size, *size), face.score),
        *(mouth_opening(face.points), 0, head_pose(face.points), face.points[_KEPT, :2] / size),
    )
    return row
