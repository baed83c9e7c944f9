"""Follows hands and bodies from picture to picture, if the settings ask for them."""

from __future__ import annotations

from functools import cache

import av
import numpy as np

from corpus.align.sight import networks
from corpus.align.sight.bodies import Body, BodyJoints, PersonDetector
from corpus.align.sight.changes import Changes, Thumb
from corpus.align.sight.hands import Hand, HandJoints, PalmDetector
from corpus.align.sight.picture import Pictures, upright_size
from corpus.align.sight.tracks import SAME_PIECE, Tracker
from corpus.schemas.joints import BODY_DTYPE, HAND_DTYPE, Bodies, Hands
from corpus.schemas.settings import SightSettings


class JointWatch:
    """Takes the sampled pictures in order."""

    def __init__(self, settings: SightSettings) -> None:
        self._settings = settings
        self._changes = Changes(0.0, below=False), Changes(0.0, below=False)
        self._hands = Tracker[Hand](settings.most_hands, SAME_PIECE, SAME_PIECE, self._changes[0])
        self._bodies = Tracker[Body](settings.most_bodies, SAME_PIECE, SAME_PIECE, self._changes[1])
        self._hand_rows, self._body_rows = bytearray(), bytearray()

    def forget(self) -> None:
        """Forget everything that is followed, after a cut or a hole."""
        self._hands.forget()
        self._bodies.forget()

    def look(self, frame: av.VideoFrame, time_us: int, number: int, thumb: Thumb, pictures: Pictures) -> None:
        """`frame` is the sampled picture of this number, planar; `thumb` holds its parts.

        Raises:
            MissingModelError, MissingDependencyError: the models are missing.
        """
        size = upright_size(frame)
        for changes in self._changes:
            changes.see(thumb, size)
        if self._settings.hands:
            palms, hand_joints = _hand_networks()
            hands = self._hands.step(
                time_us,
                lambda piece: hand_joints(frame, piece, pictures),
                lambda: palms(frame, pictures),
            )
            for track, hand in hands:
                row = np.zeros(1, HAND_DTYPE)
                row["frame"], row["track"], row["score"] = number, track, hand.score
                row["right"], row["points"] = hand.right, hand.points / size
                self._hand_rows += row.tobytes()
        if self._settings.bodies:
            people, body_joints = _body_networks()
            bodies = self._bodies.step(
                time_us,
                lambda piece: body_joints(frame, piece, pictures),
                lambda: people(frame, pictures),
            )
            for track, body in bodies:
                row = np.zeros(1, BODY_DTYPE)
                row["frame"], row["track"], row["score"] = number, track, body.score
                row["points"], row["visible"] = body.points / size, body.visible
                self._body_rows += row.tobytes()

    @property
    def hands(self) -> Hands:
        return np.frombuffer(bytes(self._hand_rows), HAND_DTYPE)

    @property
    def bodies(self) -> Bodies:
        return np.frombuffer(bytes(self._body_rows), BODY_DTYPE)


@cache
def _hand_networks() -> tuple[PalmDetector, HandJoints]:
    """Opened once per worker."""
    folder = networks.folder("hands")
    return PalmDetector(folder), HandJoints(folder)


@cache
def _body_networks() -> tuple[PersonDetector, BodyJoints]:
    folder = networks.folder("bodies")
    return PersonDetector(folder), BodyJoints(folder)
