"""Positions of faces in each picture of a clip, for the frames drawn over the picture."""

from __future__ import annotations

import json

from corpus.report.pages.lanes import tone_of
from corpus.schemas.clip import ClipHead

PLACES = 1000
"""Positions are in thousandths of the displayed picture's sides."""
LABEL = "face"


def frames_of_faces(head: ClipHead) -> str:
    """JSON: for each window of the clip that has faces, lists of name, tone, left, top, width and height.

    Positions are percentages of the clip's picture, in which the recording's own may be letterboxed. An event
    whose payload is not in sight's form is skipped: a clip may come from anywhere.
    """
    frames: dict[int, list[tuple[str, str, float, float, float, float]]] = {}
    for event in head.events:
        if event.label != LABEL or head.video is None:
            continue
        name = event.speaker or ("still" if event.kind == "still" else "somebody")
        tone = tone_of(event.speaker, head.speakers)
        shape, boxes = _places(event.payload)
        bars = bars_of(shape, head.video.width, head.video.height)
        first = event.start_us // head.window_us - head.first_window
        for number, box in enumerate(boxes, start=first):
            if box is not None and 0 <= number < head.windows:
                frames.setdefault(number, []).append((name, tone, *_within(box, bars)))
    return json.dumps(frames, sort_keys=True, separators=(",", ":"))


def _places(payload: str) -> tuple[tuple[float, float], list[list[float] | None]]:
    """The shape of the recording's picture, and a box or nothing for each window."""
    try:
        fields = json.loads(payload)
        width, height = (float(v) for v in fields["shape"])
        boxes = [None if box is None else [float(v) for v in box] for box in fields["boxes"]]
    except (ValueError, KeyError, TypeError):
        return (1.0, 1.0), []
    good = width > 0 and height > 0 and all(box is None or len(box) == 4 for box in boxes)
    return ((width, height), boxes) if good else ((1.0, 1.0), [])


def bars_of(shape: tuple[float, float], width: int, height: int) -> tuple[float, float, float, float]:
    """Left, top, width and height of the recording's picture within the clip's, as shares."""
    scale = min(width / shape[0], height / shape[1])
    wide, high = shape[0] * scale / width, shape[1] * scale / height
    return (1 - wide) / 2, (1 - high) / 2, wide, high


def _within(box: list[float], bars: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, wide, high = bars
    x0, y0, x1, y1 = (v / PLACES for v in box)
    return (
        round(100 * (left + x0 * wide), 2),
        round(100 * (top + y0 * high), 2),
        round(100 * (x1 - x0) * wide, 2),
        round(100 * (y1 - y0) * high, 2),
    )
