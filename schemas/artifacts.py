"""What each stage leaves in the cache for the next: folders of plain files with a JSON head.

decode/   decoded.json   Decoded
          channel-0.i16  int16 little-endian samples of channel 0, segments one after another
          pictures.mjpeg the windows' JPEGs one after another
          pictures.npy   PICTURE_DTYPE, one row per written window
voices/   voices.json    Voices
          owners.npy     where speakers share a channel: int64 [2, stretches], first sample and channel
          channel-0.i16 … only where the channels are not parts of the decoded sound
          activity.npy   uint8 [channels, written windows, frames]
cut/      segment.tar    the recording's clips, members in order, no end-of-archive blocks
          rows.arrow     the rows of clips.parquet, an Arrow stream
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from corpus.schemas.clip import Separation
from corpus.schemas.recording import Oddity, Stream

PICTURE_DTYPE: npt.DTypeLike = np.dtype(
    [("offset", "<i8"), ("size", "<i4"), ("pts_us", "<i8"), ("flags", "u1")]
)
"""offset -1, size 0, pts_us -1 where a window has no picture."""

PICTURE_NONE = 1
"""No frame has been presented yet, or the video has ended."""
PICTURE_STALE = 2
"""The last frame is more than a second old at the window's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Consecutive windows that are written. Between two segments nothing was recorded for over 10 s."""

    first_window: int
    windows: int
    """Whole windows; the rest of a partial last one is a Drop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSpan:
    """A stretch of one channel's samples, on the recording's clock."""

    channel: int
    start_us: int
    stop_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A recording on its clock: sound per channel, one picture per window."""

    duration_us: int
    sample_rate_hz: int
    segments: tuple[Segment, ...]
    """Each holds windows * samples_per_window samples of every channel."""
    channels: tuple[str | None, ...]
    """One entry per file `channel-N.i16`. `(None,)` is the mix of a recording whose speakers share a
    channel. Otherwise one per input channel with its speaker's name, and the mix is their int32 sum."""
    streams: tuple[Stream, ...]
    padded: tuple[ChannelSpan, ...] = ()
    saturated_samples: int = 0
    saturated: tuple[ChannelSpan, ...] = ()
    """Joined spans of windows that contain saturated samples."""
    picture_width: int = 0
    """0 by 0 when the recording has no picture."""
    picture_height: int = 0
    oddities: tuple[Oddity, ...] = ()

    @property
    def windows(self) -> int:
        return sum(segment.windows for segment in self.segments)

    @property
    def one_speaker_per_channel(self) -> bool:
        return self.channels != (None,) and len(self.channels) > 0


VoicesForm = Literal["owners", "inputs", "channels"]
"""Where the sound of the voices is stored: in the decoded mix, each stretch of which has an owner; in the
decoded channels unchanged; or in files of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voices:
    """One channel per speaker and the room, whose int32 sum is the mix. Read by `schemas.pcm.VoicePcm`."""

    speakers: tuple[str, ...]
    """In channel order; the room is the channel after the last."""
    sample_rate_hz: int
    segments: tuple[Segment, ...]
    separation: Separation | None = None
    """How overlapped speech was treated; None if there was none to separate."""
    form: VoicesForm = "channels"
    sources: tuple[int | None, ...] = ()
    """For `inputs`: the decoded channel that each channel equals; None for a silent one."""
    taken_back_samples: int = 0
    """Samples at which the room exceeded int16, so that the excess went back to the loudest estimate."""
