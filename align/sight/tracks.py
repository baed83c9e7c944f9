"""Faces tracked from picture to picture: the mesh follows known ones, the detector finds new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from corpus.align.sight.detector import Found, overlap
from corpus.align.sight.mesh import Face, Piece, piece_of_face, piece_of_found

LEAST_SCORE = 0.5
"""Of the mesh: below it the piece shows no face."""
SAME_FACE = 0.3
LOST_US = 400_000
"""A face not seen for so long has left; until then it may be recovered."""
DETECT_US = 500_000

LookAt = Callable[[Piece], Face]
"""The mesh on a piece of the present picture."""
Detect = Callable[[], Sequence[Found]]
"""All faces of the present picture."""


@dataclass(slots=True)
class _Track:
    id: int
    face: Face
    seen_us: int


@dataclass(slots=True)
class Tracker:
    """Gives every face of a picture the number of its track."""

    most_faces: int
    _tracks: list[_Track] = field(default_factory=list)
    _next_id: int = 0
    _detected_us: int | None = None

    def forget(self) -> None:
        """Forget all faces, after a cut or a hole."""
        self._tracks.clear()
        self._detected_us = None

    def step(self, time_us: int, look_at: LookAt, detect: Detect) -> list[tuple[int, Face]]:
        """The faces of the picture at `time_us`, by track."""
        seen: dict[int, Face] = {}
        lost = False
        for track in self._tracks:
            face = look_at(piece_of_face(track.face))
            # A mesh slides to the neighbour when its own face leaves; the older track keeps that face.
            taken = any(overlap(face.box, other.box) > SAME_FACE for other in seen.values())
            if face.score >= LEAST_SCORE and not taken:
                seen[track.id], track.face, track.seen_us = face, face, time_us
            else:
                lost = True
        # The detector costs most: run it twice a second, or when somebody is lost.
        due = self._detected_us is None or time_us - self._detected_us >= DETECT_US
        if due or lost:
            self._detected_us = time_us
            self._add(time_us, detect(), look_at, seen)
        self._tracks = [t for t in self._tracks if time_us - t.seen_us < LOST_US]
        return sorted(seen.items(), key=lambda pair: pair[0])

    def _add(self, time_us: int, found: Sequence[Found], look_at: LookAt, seen: dict[int, Face]) -> None:
        for each in found:
            if any(overlap(each.box, face.box) > SAME_FACE / 2 for face in seen.values()):
                continue
            if len(seen) >= self.most_faces:
                break
            face = look_at(piece_of_found(each))
            if face.score < LEAST_SCORE or any(overlap(face.box, o.box) > SAME_FACE for o in seen.values()):
                continue
            track = self._lost_at(face, seen) or self._new(face)
            seen[track.id], track.face, track.seen_us = face, face, time_us

    def _lost_at(self, face: Face, seen: dict[int, Face]) -> _Track | None:
        """The track that was lost at this place."""
        gone = (t for t in self._tracks if t.id not in seen)
        return next((t for t in gone if overlap(t.face.box, face.box) > SAME_FACE), None)

    def _new(self, face: Face) -> _Track:
        track = _Track(self._next_id, face, 0)
        self._next_id += 1
        self._tracks.append(track)
        return track
