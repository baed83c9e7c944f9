"""Cutting a recording into clips: one tar segment, and one row for each clip."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import UInt8Array
from corpus.schemas.artifacts import Decoded, Segment, Voices
from corpus.schemas.clip import ClipHead, Source, Video, clip_key
from corpus.schemas.clock import FRAMES_PER_WINDOW, WINDOW_US, samples_per_window
from corpus.schemas.codec import from_plain, to_json, to_plain
from corpus.schemas.conversation import Conversation
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError
from corpus.schemas.pcm import VoicePcm, read_activity
from corpus.schemas.quality import Quality
from corpus.schemas.recording import Recording
from corpus.schemas.settings import ClipSettings
from corpus.shards.columns import ClipRow, write_rows
from corpus.shards.flac import MOST_CHANNELS, encode_flac
from corpus.shards.items import Items
from corpus.shards.mel import MEL_FORM, MelShape, mel_bytes, mel_shape
from corpus.shards.npy import npy_bytes
from corpus.shards.pictures import Pictures
from corpus.shards.row import append_clip, clip_row
from corpus.shards.talk import finer_flags, talk_flags

SEGMENT_FILE = "segment.tar"
ROWS_FILE = "rows.arrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a recording's clips are cut from."""

    recording: Recording
    conversation: Conversation
    decoded: Decoded
    decode_dir: Path
    voices: Voices
    voices_dir: Path


def cut(
    material: Material,
    out: Path,
    *,
    split: str,
    settings: ClipSettings,
    config: str,
    quality: Mapping[int, Quality] | None = None,
    left_out: Set[int] = frozenset(),
) -> list[Drop]:
    """Write `segment.tar` and `rows.arrow` into `out`: the recording's clips in order.

    A clip is `windows_per_clip` consecutive windows; the last before a gap or the end may be shorter.
    `quality` is keyed by a clip's first window; clips that begin with one of `left_out` are not written. Only
    one clip is in memory, however long the recording is. Words without times, and items outside all written
    windows, go to no clip and are returned as Drops.

    Raises:
        CorpusError: the artifacts contradict each other, or there are more than 7 speakers.
    """
    recording, voices = material.recording, material.voices
    _check_inputs(material.conversation, material.decoded, voices, where=recording.uri)
    maker = _ClipMaker(
        recording=recording,
        items=Items.of(material.conversation),
        voices=voices,
        pcm=VoicePcm(voices, material.voices_dir, material.decode_dir),
        activity=read_activity(voices, material.voices_dir),
        pictures=Pictures.of(material.decoded, material.decode_dir),
        mel=mel_shape(voices.sample_rate_hz, settings.frames_per_window),
        split=split,
        config=config,
        quality=quality or {},
    )
    # In one pass: the tar's position is the next clip's offset.
    rows = []
    with open(out / SEGMENT_FILE, "wb") as tar:
        for stretch in stretches(voices.segments, settings.windows_per_clip):
            if stretch.first_window in left_out:
                continue
            rows.append(maker.write(stretch, tar.tell(), tar))
    write_rows(out / ROWS_FILE, rows)
    return maker.items.drops(recording.uri, voices.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """The windows of one clip."""

    first_window: int
    windows: int
    written: int
    """Windows written before it: its position in the activity and picture tables."""


def stretches(segments: Sequence[Segment], windows_per_clip: int) -> Iterator[_Stretch]:
    """The clips of a recording, all of the same number of windows except before a gap and at the end."""
    written = 0
    for segment in segments:
        for done in range(0, segment.windows, windows_per_clip):
            # A clip never spans a gap: windows that are not written break it.
            windows = min(windows_per_clip, segment.windows - done)
            yield _Stretch(first_window=segment.first_window + done, windows=windows, written=written)
            written += windows


def _check_inputs(conversation: Conversation, decoded: Decoded, voices: Voices, where: str) -> None:
    if len(voices.speakers) > MOST_CHANNELS - 1:
        raise CorpusError(
            f"{len(voices.speakers)} speakers; a clip holds at most {MOST_CHANNELS - 1} and the room",
            where=where,
            todo="set diarize.max_speakers to 7, or merge speakers in the sidecar",
        )
    silent = [name for name in conversation.speakers if name not in voices.speakers]
    if silent:
        raise CorpusError(f"no channel for speakers {', '.join(silent)}", where=where)
    if voices.segments != decoded.segments or voices.sample_rate_hz != decoded.sample_rate_hz:
        raise CorpusError("the channels and the decoded sound cover different windows", where=where)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClipMaker:
    """All that the clips of one recording share."""

    recording: Recording
    items: Items
    voices: Voices
    pcm: VoicePcm
    activity: UInt8Array
    pictures: Pictures | None
    mel: MelShape
    split: str
    config: str
    quality: Mapping[int, Quality]

    def write(self, stretch: _Stretch, offset: int, tar: BinaryIO) -> ClipRow:
        """Append one clip to `tar`, whose position is `offset`."""
        # `sound` has a few milliseconds more at its start than the clip: for mel, but not for FLAC and mix.
        sound = self._sound(stretch)
        context = self.mel.context_samples
        video, mjpeg = (
            self.pictures.of_clip(stretch.written, stretch.windows) if self.pictures else (None, b"")
        )
        # int32, since eight int16 channels may exceed int16 on their way to the mix.
        mix = sound[:, context:].sum(axis=0, dtype=np.int32)
        head = self._head(stretch, video, mix)
        flags = self._flags(stretch, head)
        contents = (
            to_json(head).encode(),
            encode_flac(sound[:, context:], self.pcm.sample_rate_hz),
            npy_bytes(mel_bytes(sound, self.pcm.sample_rate_hz, self.mel.frames_per_window)),
            npy_bytes(flags),
            mjpeg,
        )
        place = append_clip(tar, offset, head.key, contents)
        named, conversation = self.recording.speakers, self.recording.conversation
        return clip_row(head, place, flags, mix, conversation=conversation, named_speakers=named)

    def _sound(self, stretch: _Stretch) -> npt.NDArray[np.int16]:
        """All channels, with the samples before the clip that its first mel frame looks back on."""
        rate = self.pcm.sample_rate_hz
        start = stretch.first_window * samples_per_window(rate)
        stop = start + stretch.windows * samples_per_window(rate)
        start -= self.mel.context_samples
        return np.stack([self.pcm.read(channel, start, stop) for channel in range(self.pcm.channels)])

    def _flags(self, stretch: _Stretch, head: ClipHead) -> UInt8Array:
        """The clip's activity; stages before this one know frames of 25 ms only."""
        flags = self.activity[:, stretch.written : stretch.written + stretch.windows]
        if head.frames_per_window == FRAMES_PER_WINDOW:
            return flags
        talk = talk_flags(head.turns, head.speakers, head.start_us, head.windows, head.frames_per_window)
        return finer_flags(flags, talk)

    def _head(self, stretch: _Stretch, video: Video | None, mix: npt.NDArray[np.int32]) -> ClipHead:
        start_us = stretch.first_window * WINDOW_US
        stop_us = start_us + stretch.windows * WINDOW_US
        recording = self.recording
        head = ClipHead(
            key=clip_key(recording.hash, stretch.first_window),
            recording=recording.hash,
            split=self.split,
            first_window=stretch.first_window,
            windows=stretch.windows,
            window_us=WINDOW_US,
            start_us=start_us,
            stop_us=stop_us,
            sample_rate_hz=self.pcm.sample_rate_hz,
            frames_per_window=self.mel.frames_per_window,
            mel=MEL_FORM,
            speakers=self.voices.speakers,
            turns=self.items.turns.within(start_us, stop_us),
            words=self.items.words.within(start_us, stop_us),
            cues=self.items.cues.within(start_us, stop_us),
            answers=self.items.answers.within(start_us, stop_us),
            events=self.items.events.within(start_us, stop_us),
            labels_made=self.items.labels_made,
            separation=self.voices.separation,
            quality=self.quality.get(stretch.first_window),
            video=video,
            mix_sha256=hashlib.sha256(mix.astype("<i4").tobytes()).hexdigest(),
            source=Source(
                uri=recording.uri,
                sha256=recording.hash,
                licence=recording.licence,
                consent=recording.consent,
            ),
            config=self.config,
        )
        # Through the form once: a confidence given as the whole number 1 is written as 1.0.
        return from_plain(ClipHead, to_plain(head), where=recording.uri)
