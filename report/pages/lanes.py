"""The lanes of a clip's time line. Positions are shares of the clip's length, so that it can be zoomed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from corpus.report.pages.markup import Markup, data_uri, el, join
from corpus.report.pages.png import Colour, indexed_png, ramp
from corpus.schemas.activity import OVERLAP, PADDED, SEPARATED, SPEECH, UNRELIABLE
from corpus.schemas.arrays import Int16Array, UInt8Array
from corpus.schemas.clip import ClipHead
from corpus.schemas.conversation import Cue, Event, Turn, Word

FLAGS = (
    (SPEECH, "speech", (46, 150, 110, 255)),
    (OVERLAP, "overlap", (222, 106, 40, 255)),
    (SEPARATED, "separated", (128, 96, 200, 255)),
    (UNRELIABLE, "unreliable", (200, 50, 60, 255)),
    (PADDED, "padded", (128, 128, 128, 255)),
)
"""What the bits of the activity mean and how each is drawn, in rows from the top."""

_DMEL: list[Colour] = ramp(
    [
        (0.0, (13, 13, 20, 0)),
        (1 / 15, (13, 13, 20, 255)),
        (0.2, (24, 22, 46, 255)),
        (0.4, (74, 36, 104, 255)),
        (0.58, (164, 52, 98, 255)),
        (0.72, (229, 104, 62, 255)),
        (0.86, (250, 186, 92, 255)),
        (1.0, (253, 244, 208, 255)),
    ],
    16,
)
"""Level 0, exact silence, lets the page through."""
_POINTS_PER_WINDOW = 20
_CHARACTER_US = 23_000
"""Room a letter of a cue's name takes at the zoom the page opens with."""


class Axis:
    """Maps times of the recording to a clip's time line."""

    def __init__(self, head: ClipHead) -> None:
        self.start_us = head.start_us
        self.stop_us = head.stop_us
        self.windows = head.windows

    def share(self, time_us: int) -> float:
        """The position of a time in percent, clamped to the line."""
        whole = self.stop_us - self.start_us
        return 100 * (min(max(time_us, self.start_us), self.stop_us) - self.start_us) / whole

    def holds(self, start_us: int, stop_us: int) -> bool:
        return start_us < self.stop_us and stop_us > self.start_us

    def box(self, start_us: int, stop_us: int) -> str:
        """CSS for a span."""
        left = self.share(start_us)
        return f"left:{left:.4f}%;width:{self.share(stop_us) - left:.4f}%"

    def seconds(self, time_us: int) -> str:
        """Seconds from the clip's start, for scripts."""
        return f"{(time_us - self.start_us) / 1e6:.6f}"


def row(name: str, *content: str, kind: str, tone: str = "", extra: str = "") -> Markup:
    """One lane with its name, which stays in view while the line scrolls."""
    label = el("div", el("span", name, title=name), extra, class_="label")
    return el("div", label, el("div", *content, class_="lane"), class_=f"row {kind} {tone}".rstrip())


def ruler(axis: Axis) -> Markup:
    """Window numbers every second, with the recording's time beside them."""
    marks = []
    for k in range(0, axis.windows, 5):
        time_us = axis.start_us + k * 200_000
        marks.append(
            el("span", clock(time_us).removesuffix(".0"), style=f"left:{100 * k / axis.windows:.4f}%")
        )
    return row("time", *marks, kind="ruler")


def clock(time_us: int) -> str:
    """A time with tenths of a second: 1:01.5, 1:00:00.0."""
    minutes, tenths = divmod(time_us // 100_000, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{tenths // 10:02d}.{tenths % 10}"


def pictures(axis: Axis, jpegs: Sequence[bytes | None], flags: Sequence[int]) -> Markup:
    """The windows' pictures; stale or missing ones are marked."""
    cells = []
    for k, jpeg in enumerate(jpegs):
        style = f"left:{100 * k / axis.windows:.4f}%;width:{100 / axis.windows:.4f}%"
        if jpeg is None:
            cells.append(el("i", style=style, title=f"window {k}: no picture"))
            continue
        state = "stale" if flags[k] else ""
        title = f"window {k}" + (": older than a second" if flags[k] else "")
        picture = data_uri("image/jpeg", jpeg)
        cells.append(
            el("img", src=picture, alt=title, title=title, style=style, data_k=k, class_=state or None)
        )
    return row("pictures", *cells, kind="pictures")


def turns_of(axis: Axis, turns: Iterable[Turn]) -> Markup:
    return join(
        el(
            "b",
            style=axis.box(t.start_us, t.stop_us),
            title=f"turn {clock(t.start_us)} to {clock(t.stop_us)}",
        )
        for t in turns
        if axis.holds(t.start_us, t.stop_us)
    )


def words_of(axis: Axis, words: Iterable[Word]) -> Markup:
    parts = []
    for word in words:
        if word.start_us is None or word.stop_us is None or not axis.holds(word.start_us, word.stop_us):
            continue
        parts.append(
            el(
                "span",
                word.text + word.after,
                style=axis.box(word.start_us, word.stop_us),
                title=f"{word.text}{word.after} ({word.timing})",
                class_="guessed" if word.timing == "interpolated" else None,
                data_start=axis.seconds(word.start_us),
                data_stop=axis.seconds(word.stop_us),
                data_speaker=word.speaker,
            )
        )
    return join(parts)


def full_height(sound: Int16Array, windows: int) -> int:
    """The sample value that fills a lane, the same for all channels: the few louder blocks are clipped."""
    loud = np.abs(_blocks(sound.reshape(-1), windows * len(sound))).max(1)
    return max(1, int(np.quantile(loud[loud > 0], 0.995))) if loud.any() else 1


def _blocks(samples: Int16Array, windows: int) -> npt.NDArray[np.int32]:
    points = windows * _POINTS_PER_WINDOW
    return samples.reshape(points, -1).astype(np.int32)


def waveform(samples: Int16Array, windows: int, full: int) -> Markup:
    """The outline of a channel's sound, lowest and highest sample of each hundredth of a second."""
    points = windows * _POINTS_PER_WINDOW
    blocks = _blocks(samples, windows)
    top = 50 - 49 * np.minimum(1.0, blocks.max(1) / full)
    bottom = 50 - 49 * np.maximum(-1.0, blocks.min(1) / full)
    there = " ".join(f"{x},{y:.1f}" for x, y in enumerate(top))
    back = " ".join(f"{x},{y + 0.4:.1f}" for x, y in reversed(list(enumerate(bottom))))
    outline = el("polygon", points=f"{there} {back}")
    return el("svg", outline, viewBox=f"0 0 {points} 100", preserveAspectRatio="none", aria_hidden="true")


def dmel_image(mel: UInt8Array, name: str) -> Markup:
    """dMel of a channel, `[windows, frames, bins]`: 16 levels, low frequencies at the bottom."""
    frames = (mel >> 4).reshape(-1, mel.shape[-1])
    image = indexed_png(np.ascontiguousarray(frames.T[::-1]), _DMEL)
    return el("img", src=data_uri("image/png", image), alt=f"dMel of {name}", class_="dmel")


def activity_image(flags: UInt8Array, name: str) -> Markup:
    """Activity of a channel, `[windows, frames]`: one line of pixels for each flag."""
    frames = flags.reshape(-1)
    lines = [np.where(frames & bit, place + 1, 0) for place, (bit, _, _) in enumerate(FLAGS)]
    palette: list[Colour] = [(0, 0, 0, 0), *(colour for _, _, colour in FLAGS)]
    image = indexed_png(np.stack(lines).astype(np.uint8), palette)
    said = ", ".join(title for bit, title, _ in FLAGS if (frames & bit).any()) or "none"
    return el("img", src=data_uri("image/png", image), alt=f"flags of {name}: {said}", class_="flags")


def cue_rows(axis: Axis, cues: Sequence[Cue], speakers: Sequence[str]) -> list[Markup]:
    """Cues in as few lanes as possible without overlapping names."""
    chips = [
        (
            cue.start_us,
            cue.stop_us,
            f"{cue.label} {cue.kind}".strip().replace("_", " "),
            _cue_chip(axis, cue, speakers),
        )
        for cue in cues
        if axis.holds(cue.start_us, max(cue.stop_us, cue.start_us + 1))
    ]
    return [row("cues" if n == 0 else "", *lane, kind="cues") for n, lane in enumerate(_stacked(chips))]


def event_rows(axis: Axis, events: Sequence[Event], speakers: Sequence[str]) -> list[Markup]:
    chips = []
    for event in events:
        if not axis.holds(event.start_us, max(event.stop_us, event.start_us + 1)):
            continue
        name = f"{event.label} {event.kind}".strip()
        title = f"{name}, {event.speaker or 'nobody'}, {event.origin}, {event.payload}"
        chip = el(
            "a", el("span", name), style=axis.box(event.start_us, event.stop_us), title=title,
            class_=tone_of(event.speaker, speakers), data_start=axis.seconds(event.start_us),
        )  # fmt: skip
        chips.append((event.start_us, event.stop_us, name, chip))
    return [row("events" if n == 0 else "", *lane, kind="cues") for n, lane in enumerate(_stacked(chips))]


def _cue_chip(axis: Axis, cue: Cue, speakers: Sequence[str]) -> Markup:
    name = f"{cue.label} {cue.kind}".strip().replace("_", " ")
    title = (
        f"{name}, {cue.speaker or 'nobody'}, {clock(cue.start_us)} to {clock(cue.stop_us)}, "
        f"confidence {cue.confidence:.2f}, {cue.origin}\n{cue.evidence}\n{cue.thresholds}"
    )
    return el(
        "a",
        el("span", name),
        style=axis.box(cue.start_us, cue.stop_us),
        title=title,
        class_=tone_of(cue.speaker, speakers),
        data_start=axis.seconds(cue.start_us),
        data_stop=axis.seconds(cue.stop_us),
        data_cue=f"{name} · {cue.speaker}" if cue.speaker else name,
    )


def _stacked(chips: Sequence[tuple[int, int, str, Markup]]) -> list[list[Markup]]:
    lanes: list[list[Markup]] = []
    free_us: list[int] = []
    for start_us, stop_us, name, chip in sorted(chips, key=lambda c: (c[0], c[1], c[2])):
        place = next((n for n, free in enumerate(free_us) if free <= start_us), len(lanes))
        if place == len(lanes):
            lanes.append([])
            free_us.append(0)
        lanes[place].append(chip)
        free_us[place] = max(stop_us, start_us + (len(name) + 2) * _CHARACTER_US)
    return lanes


def tone_of(speaker: str | None, speakers: Sequence[str]) -> str:
    """CSS class of a speaker's colour; the room's for nobody."""
    return f"s{speakers.index(speaker)}" if speaker in speakers else "room"
