"""A clip's time line as one SVG: a grid of windows, and a lane for everything that happens on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from corpus.pipeline.pages.html import text
from corpus.pipeline.pages.png import Colour, data_uri, heat, png
from corpus.schemas import artifacts

if TYPE_CHECKING:
    from corpus.schemas.clip import ClipHead
    from corpus.shards.read import Clip

Item = TypeVar("Item")

WINDOW_PX = 48
"""30 s are 7200 pixels: a spoken word is about as wide as it is written."""
_ROW = 17
_WAVE, _MEL, _FLAG = 54, 80, 3
_QUIETEST, _LOUDEST = 3, 12
"""dMel levels that speech uses; the colours are spent on these."""

FLAGS: tuple[tuple[int, str, Colour], ...] = (
    (artifacts.SPEECH, "talks", (46, 160, 110)),
    (artifacts.OVERLAP, "overlap", (214, 120, 30)),
    (artifacts.SEPARATED, "estimate", (70, 130, 220)),
    (artifacts.UNRELIABLE, "unreliable", (206, 62, 74)),
    (artifacts.PADDED, "no sound", (130, 134, 142)),
)


@dataclass
class Timeline:
    """The drawing while it grows downwards."""

    head: ClipHead
    marks: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    y: int = 0

    @property
    def width(self) -> int:
        return self.head.windows * WINDOW_PX

    def x(self, time_us: int) -> float:
        """Where a time stands; what lies outside the clip is drawn at its edge."""
        inside = min(max(time_us, self.head.start_us), self.head.stop_us) - self.head.start_us
        return inside / self.head.window_us * WINDOW_PX

    def name(self, markup: str, y: int) -> None:
        self.names.append(f'<div style="top:{y}px">{markup}</div>')

    def colour(self, speaker: str | None) -> str:
        if speaker not in self.head.speakers:
            return "var(--soft)"
        return f"var(--s{self.head.speakers.index(speaker) % 7})"

    def image(self, y: int, height: int, data: bytes) -> None:
        self.marks.append(
            f'<image x="0" y="{y}" width="{self.width}" height="{height}" preserveAspectRatio="none" '
            f'href="{data_uri("image/png", data)}"/>'
        )

    def rule(self) -> None:
        self.y += 7
        self.marks.append(f'<line class="line" x1="0" x2="{self.width}" y1="{self.y}" y2="{self.y}"/>')
        self.y += 7


def draw_timeline(clip: Clip) -> tuple[str, str]:
    """The SVG of a clip, and the names of its lanes as HTML for the column beside it."""
    line = Timeline(clip.json)
    _ruler(line)
    if line.head.video is not None:
        _pictures(line, clip)
    audio, mel, activity = clip.audio(), clip.mel(), clip.activity()
    for channel, speaker in enumerate((*line.head.speakers, None)):
        line.rule()
        _channel(line, speaker, audio[channel], mel[channel], activity[channel])
    _spans(line, "Cues", [(c.start_us, c.stop_us, _said(c.label, c.kind), c.speaker) for c in line.head.cues])
    _spans(
        line, "Events", [(e.start_us, e.stop_us, _said(e.label, e.kind), e.speaker) for e in line.head.events]
    )
    line.y += 12
    grid = _grid(line)
    head = f'<line id="head" class="head" x1="0" x2="0" y1="0" y2="{line.y}"/>'
    svg = (
        f'<svg width="{line.width}" height="{line.y}" viewBox="0 0 {line.width} {line.y}" role="img" '
        f'aria-label="Time line of the clip">{grid}{"".join(line.marks)}{head}</svg>'
    )
    return svg, f'<div class="names" style="height:{line.y}px">{"".join(line.names)}</div>'


def _said(label: str, kind: str) -> str:
    return (f"{label} · {kind}" if kind else label).replace("_", " ")


def _grid(line: Timeline) -> str:
    lines = []
    for window in range(line.head.windows + 1):
        second = (line.head.first_window + window) * line.head.window_us % 1_000_000 == 0
        kind, x = ("second" if second else "grid"), window * WINDOW_PX
        lines.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="0" y2="{line.y}"/>')
    return "".join(lines)


def _ruler(line: Timeline) -> None:
    line.name("time", 1)
    line.name("window", 16)
    for window in range(line.head.windows):
        number, x = line.head.first_window + window, window * WINDOW_PX + 4
        seconds, rest = divmod(number * line.head.window_us, 1_000_000)
        if not rest:
            line.marks.append(f'<text x="{x}" y="13">{seconds // 60}:{seconds % 60:02d}</text>')
        line.marks.append(f'<text class="tick" x="{x}" y="28">{number}</text>')
    line.y = 34


def _pictures(line: Timeline, clip: Clip) -> None:
    video = line.head.video
    assert video is not None
    height = round(WINDOW_PX * video.height / video.width)
    line.name("pictures", line.y + height // 2 - 7)
    for window in range(line.head.windows):
        data, x = clip.jpeg(window), window * WINDOW_PX
        if data is None:
            continue
        faded = ' opacity=".45"' if video.flags[window] & artifacts.PICTURE_STALE else ""
        line.marks.append(
            f'<image class="photo" data-window="{window}" x="{x}" y="{line.y}" width="{WINDOW_PX}" '
            f'height="{height}"{faded} href="{data_uri("image/jpeg", data)}"/>'
        )
    line.y += height


def _channel(
    line: Timeline,
    speaker: str | None,
    samples: npt.NDArray[np.int16],
    mel: npt.NDArray[np.uint8],
    activity: npt.NDArray[np.uint8],
) -> None:
    key = f'<span class="key" style="background:{line.colour(speaker) if speaker else "var(--room)"}"></span>'
    line.name(f"{key}<b>{text(speaker) if speaker is not None else 'room'}</b>", line.y + 2)
    if speaker is not None:
        _speech(line, speaker)
    line.name("sound", line.y + _WAVE // 2 - 7)
    colour = line.colour(speaker) if speaker is not None else "var(--room)"
    line.marks.append(f'<path d="{_wave(samples, line)}" stroke="{colour}" fill="none" stroke-width="1.4"/>')
    line.y += _WAVE + 4
    line.name("dMel", line.y + _MEL // 2 - 7)
    levels = np.clip((mel.reshape(-1, mel.shape[-1]).T[::-1] >> 4), _QUIETEST, _LOUDEST) - _QUIETEST
    line.image(line.y, _MEL, png(levels.astype(np.uint8), heat(_LOUDEST - _QUIETEST + 1)))
    line.y += _MEL + 3
    _flags(line, activity.reshape(-1))


def _flags(line: Timeline, flags: npt.NDArray[np.uint8]) -> None:
    """One strip for each flag, a frame is one pixel before it is stretched."""
    line.name("flags", line.y)
    rows = [np.where(flags & bit, place + 1, 0) for place, (bit, _, _) in enumerate(FLAGS)]
    palette = [(0, 0, 0), *(colour for _, _, colour in FLAGS)]
    line.image(line.y, _FLAG * len(FLAGS), png(np.array(rows, np.uint8), palette, clear=1))
    line.y += _FLAG * len(FLAGS)


def _wave(samples: npt.NDArray[np.int16], line: Timeline) -> str:
    """Lowest and highest sample of every two pixels, full scale over the lane's height."""
    columns = line.width // 2
    blocks = samples[: len(samples) // columns * columns].reshape(columns, -1).astype(np.int32)
    middle, scale = line.y + _WAVE / 2, _WAVE / 2 / 32768
    loudest = max(1, int(np.abs(blocks).max())) / 32768
    scale /= max(loudest, 0.05)  # a quiet channel fills its lane; silence does not
    highs, lows = middle - blocks.max(axis=1) * scale, middle - blocks.min(axis=1) * scale
    return "".join(
        f"M{2 * i + 1} {high:.1f}V{max(low, high + 0.7):.1f}"
        for i, (high, low) in enumerate(zip(highs.tolist(), lows.tolist(), strict=True))
    )


def _speech(line: Timeline, speaker: str) -> None:
    words = [w for w in line.head.words if w.speaker == speaker and w.start_us is not None]
    placed = _packed(words, lambda w: (line.x(w.start_us or 0), _text_px(w.text + w.after)))
    rows = max((row for _, row in placed), default=0) + 1
    height = rows * _ROW + 6
    colour = line.colour(speaker)
    for turn in line.head.turns:
        if turn.speaker == speaker:
            x0, x1 = line.x(turn.start_us), line.x(turn.stop_us)
            line.marks.append(
                f'<rect class="turn" x="{x0:.1f}" y="{line.y}" width="{max(x1 - x0, 1):.1f}" height="{height}" '
                f'rx="4" fill="{colour}" stroke="{colour}"/>'
            )
    for word, row in placed:
        kind = "word" if word.timing == "measured" else "guess"
        line.marks.append(
            f'<text class="{kind}" data-from="{word.start_us}" data-to="{word.stop_us}" data-who="{text(speaker)}" '
            f'x="{line.x(word.start_us or 0) + 2:.1f}" y="{line.y + 15 + row * _ROW}">{text(word.text + word.after)}</text>'
        )
    line.y += height + 4


def _spans(line: Timeline, name: str, spans: Sequence[tuple[int, int, str, str | None]]) -> None:
    if not spans:
        return
    line.rule()
    line.name(f"<b>{name}</b>", line.y + 2)
    placed = _packed(
        spans,
        lambda s: (line.x(s[0]), max(line.x(s[1]) - line.x(s[0]), _text_px(s[2]) + 12)),
    )
    for (start_us, stop_us, said, speaker), row in placed:
        x0, x1, y = line.x(start_us), line.x(stop_us), line.y + row * (_ROW + 5)
        colour = line.colour(speaker)
        line.marks.append(
            f'<rect class="cue" x="{x0:.1f}" y="{y}" width="{max(x1 - x0, 2):.1f}" height="{_ROW + 1}" rx="3" '
            f'stroke="{colour}"/><rect x="{x0:.1f}" y="{y}" width="3" height="{_ROW + 1}" rx="1.5" fill="{colour}"/>'
            f'<text x="{x0 + 7:.1f}" y="{y + 13}">{text(said)}</text>'
        )
    line.y += (max(row for _, row in placed) + 1) * (_ROW + 5)


def _text_px(shown: str) -> float:
    return len(shown) * 7.2 + 4


def _packed(items: Iterable[Item], place: Callable[[Item], tuple[float, float]]) -> list[tuple[Item, int]]:
    """Each item with the first row in which it does not touch the one before it."""
    ends: list[float] = []
    placed: list[tuple[Item, int]] = []
    for item in sorted(items, key=lambda i: place(i)[0]):
        left, width = place(item)
        row = next((r for r, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [left + width]
        placed.append((item, row))
    return placed
