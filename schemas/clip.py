"""The head of a clip: the `KEY.json` member of a shard, form `corpus.clip/1`."""

from __future__ import annotations

from dataclasses import dataclass

from corpus.schemas.conversation import Cue, Event, Turn, Word

CLIP_FORM = "corpus.clip/1"
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
    """True presentation time on the recording's clock; -1 where there is no picture."""
    flags: tuple[int, ...]
    """`artifacts.PICTURE_NONE`, `artifacts.PICTURE_STALE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a clip's recording comes from."""

    uri: str
    sha256: str
    """Content hash of the recording."""
    licence: str | None
    consent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipHead:
    """What a clip is and what happens in it. Times are on the recording's clock."""

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
    """Those that overlap the clip, with their whole spans; words, cues and events alike."""
    words: tuple[Word, ...]
    cues: tuple[Cue, ...]
    events: tuple[Event, ...]
    video: Video | None
    mix_sha256: str
    """Of the clip's mix as int32 little-endian samples: the sum of all its channels."""
    source: Source
    config: str
    """Digest of the settings that made the clip."""


def clip_key(recording_hash: str, first_window: int) -> str:
    """20 hex digits of the recording, a dash, the first window in 7 digits. Holds no dot."""
    return f"{recording_hash[:20]}-{first_window:07d}"
