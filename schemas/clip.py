"""The head of a clip: the `KEY.json` member of a shard, form `corpus.clip/3`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Answer, Cue, Event, LabelMade, Turn, Word
from corpus.schemas.quality import Quality

CLIP_FORM = "corpus.clip/3"
MOST_WINDOWS = 3000
"""The longest clip: ten minutes."""
MOST_PIXELS = 1 << 14
"""The longest side of a picture."""
MEMBERS = ("json", "flac", "mel.npy", "activity.npy", "mjpeg")
"""Members of one key, always all present, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MelForm:
    """What a mel byte means: log10 magnitude = low + step * byte, up to one step above."""

    bins: int
    low: float
    step: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """The pictures of a clip: window k's JPEG is `sizes[k]` bytes at `offsets[k]` of the mjpeg member."""

    width: int
    height: int
    patch: int
    offsets: tuple[int, ...]
    """-1 where the window has no picture."""
    sizes: tuple[int, ...]
    pts_us: tuple[int, ...]
    """True presentation time on the recording's clock; -1 without a picture."""
    flags: tuple[int, ...]
    """`artifacts.PICTURE_NONE`, `artifacts.PICTURE_STALE`."""

    def __post_init__(self) -> None:
        for name in ("width", "height", "patch"):
            if not 1 <= getattr(self, name) <= MOST_PIXELS:
                raise ValueError(f"{name} is {getattr(self, name)}, must be 1 to {MOST_PIXELS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a clip's recording comes from."""

    uri: str
    sha256: str
    """Content hash of the recording."""
    licence: str | None
    consent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """How the recording's overlapped speech was treated, and the self-test that decided it."""

    separator: str
    """Name and version of the separator; `mask` without one."""
    accepted: bool
    """False if overlapped speech stays in the room."""
    reason: str
    """The reason, as a sentence."""
    si_sdri_db: float | None = None
    """Improvement over the mixture on synthetic overlaps of the recording's own speech."""
    words_found: float | None = None
    """Words recognised in the estimates minus those in the mixture, per reference word."""
    words_invented: float | None = None
    """The same for false words."""


def _head_from_1(plain: dict[str, Any]) -> dict[str, Any]:
    from corpus.schemas.older import items_from_1

    added: dict[str, Any] = {"answers": [], "labels_made": [], "separation": None, "quality": None}
    return {**added, **items_from_1(plain)}


def _head_from_2(plain: dict[str, Any]) -> dict[str, Any]:
    return {"quality": None, **{name: value for name, value in plain.items() if name != "schema"}}


_RANGES = {
    "first_window": (0, 10**9),
    "windows": (1, MOST_WINDOWS),
    "window_us": (WINDOW_US, WINDOW_US),
    "sample_rate_hz": (1000, 384_000),
    "frames_per_window": (1, 64),
}


def check_ranges(plain: Mapping[str, Any]) -> None:
    """Refuse a head whose numbers are out of range.

    Raises:
        ValueError: a number is out of range or not whole.
    """
    for name, (least, most) in _RANGES.items():
        if type(plain[name]) is not int or not least <= plain[name] <= most:
            raise ValueError(f"{name} is {plain[name]!r}, must be {least} to {most}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipHead:
    """What a clip is and what happens in it. Times are on the recording's clock."""

    older: ClassVar[dict[str, Any]] = {"corpus.clip/1": _head_from_1, "corpus.clip/2": _head_from_2}
    """Older forms that can still be read, and the function that converts each to this one."""

    schema: str = CLIP_FORM
    key: str
    recording: str
    split: str
    first_window: int
    windows: int
    window_us: int
    start_us: int
    stop_us: int
    sample_rate_hz: int
    frames_per_window: int
    mel: MelForm
    speakers: tuple[str, ...]
    """Channel order; the channel after the last is the room."""
    turns: tuple[Turn, ...]
    """Turns that overlap the clip, with their whole spans; the same for words, cues, answers and events."""
    words: tuple[Word, ...]
    cues: tuple[Cue, ...]
    answers: tuple[Answer, ...]
    events: tuple[Event, ...]
    labels_made: tuple[LabelMade, ...]
    """For the whole recording: which labels were looked for, and why the others were not."""
    separation: Separation | None
    """None if no overlapped speech had to be separated."""
    quality: Quality | None
    """None in a clip made before `/3`."""
    video: Video | None
    mix_sha256: str
    """sha256 of the clip's mix, the sum of all its channels, as int32 little-endian samples."""
    source: Source
    config: str
    """Digest of the settings that made the clip."""

    def __post_init__(self) -> None:
        """Refuse what no reader could use; `verify` finds what is merely wrong."""
        check_ranges({name: getattr(self, name) for name in _RANGES})
        known = {None, *self.speakers}
        lists: tuple[tuple[Turn | Word | Cue | Answer | Event, ...], ...]
        lists = (self.turns, self.words, self.cues, self.answers, self.events)
        for items in lists:
            for one in items:
                if one.speaker not in known:
                    raise ValueError(
                        f"{one.id or 'an item'} belongs to {one.speaker!r}, who is not among {self.speakers}"
                    )


def clip_key(recording_hash: str, first_window: int) -> str:
    """20 hex digits of the recording, a dash, the first window in 7 digits. Holds no dot."""
    return f"{recording_hash[:20]}-{first_window:07d}"


def parse_clip_key(key: str) -> tuple[str, int]:
    """The recording's 20 hex digits and the first window of a key that `clip_key` made.

    Raises:
        ValueError: the text is not such a key.
    """
    match = re.fullmatch(r"([0-9a-f]{20})-([0-9]{7})", key)
    if match is None:
        raise ValueError(f"{key!r} is not a clip's key, such as {clip_key('0' * 64, 0)}")
    return match[1], int(match[2])
