"""Sound, outlines and pictures of a stretch of a recording, cut from the clips in the shards."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np

from corpus.review.original import Film, Originals, Picture
from corpus.schemas.arrays import Int16Array
from corpus.schemas.clip import parse_clip_key
from corpus.schemas.clock import WINDOW_US, sample_at
from corpus.schemas.errors import DatasetError
from corpus.schemas.latest import Latest
from corpus.shards.read import Clip, Clips, open_clips

_BLOCK_US = 5_000
"""One outline point: lowest and highest sample of 5 ms."""
LONGEST_US = 60_000_000
"""The longest stretch of one request."""


class Media:
    """The sound and pictures of a dataset. Nothing is copied; little is kept in memory."""

    def __init__(self, out: Path, films: Mapping[str, Film] | None = None) -> None:
        self.clips: Clips = open_clips(out)
        self._films = films or {}
        self._originals = Originals(out)
        self._of: dict[str, list[str]] = {}
        for key in sorted(self.clips.keys()):
            try:
                self._of.setdefault(parse_clip_key(key)[0], []).append(key)
            except ValueError as error:
                raise DatasetError(str(error), where=str(out), todo="run corpus verify") from error
        self._sound = Latest[Hashable, Int16Array](24)
        self._waves = Latest[Hashable, bytes](256)
        self._kept = Latest[Hashable, list[Picture]](4)

    def _overlapping(self, recording: str, start_us: int, stop_us: int) -> list[Clip]:
        keys = self._of.get(recording[:20], [])
        first = [int(key.partition("-")[2]) * WINDOW_US for key in keys]
        begins = []
        for key, begins_us in zip(keys, first, strict=True):
            if begins_us < stop_us:
                begins.append((begins_us, key))
        clips = []
        for _, key in reversed(begins):
            clip = self.clips[key]
            if clip.json.stop_us <= start_us:
                break
            clips.append(clip)
        return clips[::-1]

    def channels(self, recording: str) -> tuple[str, ...]:
        """The speakers in channel order, then `room`; empty without clips."""
        keys = self._of.get(recording[:20])
        return (*self.clips[keys[0]].json.speakers, "room") if keys else ()

    def samples(self, recording: str, start_us: int, stop_us: int) -> tuple[Int16Array, int]:
        """int16 `[channels, samples]` of a stretch, zeros where nothing was recorded, and the rate."""
        clips = self._overlapping(recording, start_us, stop_us)
        if not clips:
            return np.zeros((1, 0), np.int16), 16_000
        rate = clips[0].json.sample_rate_hz
        first, last = sample_at(start_us, rate), sample_at(stop_us, rate)
        whole = np.zeros((len(clips[0].json.speakers) + 1, last - first), np.int16)
        for clip in clips:
            sound = self._sound.get(clip.key, clip.audio)
            begins = sample_at(clip.json.start_us, rate)
            left, right = max(first, begins), min(last, begins + sound.shape[1])
            if right > left and len(sound) == len(whole):
                whole[:, left - first : right - first] = sound[:, left - begins : right - begins]
        return whole, rate

    def wave(self, recording: str, start_us: int, stop_us: int, channel: int | None) -> bytes:
        """A WAV file of one channel, or of the mix, which is limited to 16 bits only for listening."""

        def make() -> bytes:
            sound, rate = self.samples(recording, start_us, stop_us)
            mix = np.clip(sound.sum(0, dtype=np.int32), -32768, 32767).astype("<i2")
            one = mix if channel is None or channel >= len(sound) else sound[channel].astype("<i2")
            return _wav(one.tobytes(), rate)

        return self._waves.get((recording, start_us, stop_us, channel), make)

    def outlines(self, recording: str, start_us: int, stop_us: int) -> dict[str, object]:
        """Lowest and highest sample of every 5 ms, for each channel and the mix: int8 pairs in base64."""
        parts, rate = self.samples(recording, start_us, stop_us)
        sound = np.concatenate(
            [parts, parts.sum(0, dtype=np.int32)[None].clip(-32768, 32767)], dtype=np.int16
        )
        step = rate * _BLOCK_US // 1_000_000
        blocks = sound[:, : sound.shape[1] // step * step].reshape(len(sound), -1, step)
        if not blocks.shape[1]:
            return {"block_us": _BLOCK_US, "full": 1, "channels": ["" for _ in parts], "mix": ""}
        loud = np.abs(blocks.astype(np.int32)).max(2)
        full = max(256, int(np.quantile(loud[loud > 0], 0.98))) if loud.any() else 256
        pairs = np.stack([blocks.min(2), blocks.max(2)], 2).astype(np.float32) / full * 127
        packed = np.clip(np.rint(pairs), -127, 127).astype(np.int8)
        *channels, mix = (base64.b64encode(channel.tobytes()).decode() for channel in packed)
        return {"block_us": _BLOCK_US, "full": full, "channels": channels, "mix": mix}

    def pictures(self, recording: str, start_us: int, stop_us: int) -> bytes:
        """A line of JSON, `[{pts_us, size}, …]`, and the JPEGs, each to be shown from its time on.

        All pictures of the original file if it can be read, otherwise one per window.
        """
        pictures = self._kept.get(
            (recording, start_us, stop_us), lambda: self._every(recording, start_us, stop_us)
        )
        sizes = [{"pts_us": pts_us, "size": len(jpeg)} for pts_us, jpeg in pictures]
        return json.dumps(sizes).encode() + b"\n" + b"".join(jpeg for _, jpeg in pictures)

    def _every(self, recording: str, start_us: int, stop_us: int) -> list[Picture]:
        film = self._films.get(recording)
        originals = self._originals.pictures(recording, film, start_us, stop_us) if film is not None else None
        return originals or self._windows(recording, start_us, stop_us)

    def _windows(self, recording: str, start_us: int, stop_us: int) -> list[Picture]:
        pictures = []
        for clip in self._overlapping(recording, start_us, stop_us):
            head = clip.json
            if head.video is None:
                continue
            first = max(0, (start_us - head.start_us) // WINDOW_US - 5)  # what was on the screen before
            for k in range(first, min(head.windows, -(-(stop_us - head.start_us) // WINDOW_US))):
                jpeg = clip.jpeg(k)
                if jpeg is not None:
                    pictures.append((head.video.pts_us[k], jpeg))
        return pictures

    def has_pictures(self, recording: str) -> bool:
        keys = self._of.get(recording[:20])
        return keys is not None and self.clips[keys[0]].json.video is not None


def _wav(pcm: bytes, rate: int) -> bytes:
    """A WAV file of one 16-bit channel."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(pcm)) + pcm
    return b"RIFF" + struct.pack("<I", len(body)) + body
