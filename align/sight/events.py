"""Events of faces: where each is, whose it is, and the windows in which a speaker is seen speaking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from corpus.align.sight.who import Match, voice_marks
from corpus.schemas.arrays import BoolArray, Int64Array
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Conversation, Event
from corpus.schemas.evidence import as_json
from corpus.schemas.sight import Faces, FaceTrack, Seen
from corpus.schemas.span import Span, union
from corpus.schemas.turn_taking import speech_by_speaker

ORIGIN = "sight/1"
_EVENT_WINDOWS = 25
"""An event covers five seconds, so that a clip holds few places outside its own time."""
PLACES = 1000
"""Places are in whole thousandths of the picture's sides."""


def face_events(seen: Seen, matches: Mapping[int, Match]) -> list[Event]:
    """For each face and five seconds, an event with its box in every window: left, top, right, bottom."""
    events: list[Event] = []
    for track in seen.head.tracks:
        rows = seen.of_track(track.id)
        windows = seen.times_us[rows["frame"]] // WINDOW_US
        shape = (seen.head.width, seen.head.height)
        for inside in stretches(windows):
            events.append(_face(track, rows[inside], windows[inside], matches.get(track.id), shape))
    return events


def stretches(windows: Int64Array) -> Iterator[BoolArray]:
    """Masks of the windows, given in order, that each event covers."""
    numbers = windows // _EVENT_WINDOWS
    for number in np.unique(numbers):
        yield numbers == number


def _face(
    track: FaceTrack, rows: Faces, windows: Int64Array, match: Match | None, shape: tuple[int, int]
) -> Event:
    start, stop = int(windows[0]), int(windows[-1]) + 1
    boxes: list[list[int] | None] = [None] * (stop - start)
    for window, row in zip(windows, rows, strict=True):
        boxes[int(window) - start] = [round(float(v) * PLACES) for v in row["box"]]
    matched = {"alike": round(match.alike, 3), "lead": round(match.lead, 3)} if match else None
    return Event(
        label="face",
        kind="still" if track.still else "seen",
        speaker=match.speaker if match else None,
        start_us=start * WINDOW_US,
        stop_us=stop * WINDOW_US,
        origin=ORIGIN,
        payload=as_json(track=track.id, shape=shape, boxes=boxes, match=matched),
    )


def seen_speaking(seen: Seen, matches: Mapping[int, Match], conversation: Conversation) -> list[Event]:
    """Windows in which a speaker talks and is seen to move the mouth, joined where they touch."""
    spans = speech_by_speaker(conversation)
    events: list[Event] = []
    for speaker in sorted({match.speaker for match in matches.values()}):
        windows: list[Span] = []
        for match in matches.values():
            if match.speaker != speaker:
                continue
            rows = seen.of_track(match.track)
            times = seen.times_us[rows["frame"]]
            heard = voice_marks(spans[speaker], times + seen.head.period_us // 2)
            numbers = times // WINDOW_US
            for window in np.unique(numbers):
                at = numbers == window
                if heard[at].mean() >= 0.5 and rows["mouth_movement"][at].mean() >= match.threshold:
                    windows.append(Span(int(window) * WINDOW_US, (int(window) + 1) * WINDOW_US))
        events += [
            Event(
                label="seen_speaking",
                kind="",
                speaker=speaker,
                start_us=span.start_us,
                stop_us=span.stop_us,
                origin=ORIGIN,
            )
            for span in union(windows)
        ]
    return events
