"""visual / face_enter, face_leave: a face enters or leaves the picture while the scene continues."""

from __future__ import annotations

from collections.abc import Mapping

from corpus.align.cues.motion import breaks_us
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import FaceTrack, Seen

_ORIGIN = "faces/1"
_BACK_US = 1_500_000
"""A face that is gone for less was turned away or covered."""


def faces(seen: Seen, speakers: Mapping[int, str], settings: VisualSettings) -> list[Cue]:
    """Beginnings and ends of tracks, unless caused by a cut, a hole or the recording's end."""
    edges = breaks_us(seen, settings)
    tracks = [t for t in seen.head.tracks if not t.still and t.span.duration_us >= settings.face_us]
    cues: list[Cue] = []
    for track in tracks:
        others = [t for t in tracks if t.id != track.id]
        for kind, time_us in (("face_enter", track.start_us), ("face_leave", track.stop_us)):
            # A track is made a little after a cut: the detector looks twice a second.
            if any(abs(time_us - edge) < settings.face_us for edge in edges):
                continue
            if any(_same_place(seen, track, other, kind) for other in others):
                continue
            cues.append(_cue(kind, time_us, track, speakers.get(track.id), settings))
    return cues


def _same_place(seen: Seen, track: FaceTrack, other: FaceTrack, kind: str) -> bool:
    """Whether `other` goes on where `track` ends, or ends where it begins: one face, lost for a moment."""
    earlier, later = (track, other) if kind == "face_leave" else (other, track)
    if not 0 <= later.start_us - earlier.stop_us + seen.head.period_us <= _BACK_US:
        return False
    before, after = seen.of_track(earlier.id)[-1]["box"], seen.of_track(later.id)[0]["box"]
    apart = max(abs(float(a) - float(b)) for a, b in zip(before, after, strict=True))
    return apart < float(before[3] - before[1])


def _cue(kind: str, time_us: int, track: FaceTrack, speaker: str | None, settings: VisualSettings) -> Cue:
    return Cue(
        label="visual",
        kind=kind,
        speaker=speaker,
        start_us=time_us,
        stop_us=time_us + WINDOW_US,
        confidence=0.8,
        origin=_ORIGIN,
        thresholds=as_json(face_us=settings.face_us, back_us=_BACK_US),
        evidence=as_json(track=track.id, seen_us=track.span.duration_us),
    )
