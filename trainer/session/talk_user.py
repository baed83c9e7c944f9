"""What a model hears in `corpus talk`: a sound file, or a clip without the speaker that the model plays."""

from __future__ import annotations

import wave
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Int16Array, UInt8Array
from corpus.schemas.clock import US, WINDOW_US, samples_per_window
from corpus.schemas.errors import MediaError, MissingDependencyError, UsageError
from corpus.shards.read import open_clips
from corpus.trainer.data.clip_head import read_head
from corpus.trainer.data.hearing import heard_by, mixed
from corpus.trainer.data.text import BYTES

RATE = 16_000
WINDOW_SAMPLES = samples_per_window(RATE)
LONGEST_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The model's input, window by window."""

    samples: Int16Array
    """Whole windows at 16 kHz, as recorded."""
    heard: UInt8Array | None
    """Mel bytes `[W, F, M]` of a clip, with the room's noise; None for a file, where the model decides F."""
    pictures: Mapping[int, UInt8Array]
    events: tuple[tuple[int, str], ...]
    """Window and text, in order."""

    @property
    def windows(self) -> int:
        return len(self.samples) // WINDOW_SAMPLES


def user_of(named: str, speaker: str | None = None) -> User:
    """The user stream `FILE` or `OUT:KEY`: a sound file, or a clip in which the model plays `speaker`.

    Raises:
        UsageError: it is neither, or there is no such clip or speaker.
        MediaError: the file cannot be read as sound.
    """
    if Path(named).is_file():
        if speaker is not None:
            raise UsageError("a sound file has no speakers", where="--speaker", todo="leave it out")
        samples = read_sound(Path(named))
        if not len(samples):
            raise MediaError("holds no sound", where=named)
        return User(samples=_whole(samples), heard=None, pictures={}, events=())
    folder, colon, key = named.rpartition(":")
    if not colon or not Path(folder).is_dir():
        todo = "name a sound file, or OUT:KEY for a clip of a dataset"
        raise UsageError("neither a file nor a clip", where=named, todo=todo)
    return _user_of_clip(Path(folder), key, speaker)


def _user_of_clip(out: Path, key: str, speaker: str | None) -> User:
    clips = open_clips(out)
    if key not in clips.keys():  # noqa: SIM118 - a sequence of clips, not a mapping
        raise UsageError(
            f"no clip {key!r}",
            where=str(out),
            todo=f'corpus catalog {out} "select clip_id from clips" lists them',
        )
    clip = clips[key]
    head = clip.json
    if head.sample_rate_hz != RATE:
        raise UsageError(f"sound at {head.sample_rate_hz} Hz", where=key, todo=f"build it at {RATE} Hz")
    if speaker is None and head.speakers:
        speaker = head.speakers[0]
    if speaker not in head.speakers:
        raise UsageError(
            f"no speaker {speaker!r}", where=key, todo=f"one of {', '.join(head.speakers) or 'none'}"
        )
    channel, place = head.speakers.index(speaker), clips.keys().index(key)
    seen = {window: clip.picture(window) for window in range(head.windows)}
    notes = read_head(clip)
    notes_said = [
        (notes.window(at), BYTES.decode(tokens))
        for who, at, _, _, tokens in notes.events
        if who in (None, speaker)
    ]
    return User(
        samples=_whole(mixed(clip.audio(), channel)),
        heard=heard_by(clips, place, channel, head.windows, sample_rate_hz=RATE, hears="mix").sound_NFM,
        pictures={window: picture for window, picture in seen.items() if picture is not None},
        events=tuple((window, text) for window, text in notes_said if 0 <= window < head.windows),
    )


def _whole(samples: Int16Array) -> Int16Array:
    """Samples padded with silence to whole windows."""
    return np.pad(samples, (0, -len(samples) % WINDOW_SAMPLES))


def read_sound(path: Path) -> Int16Array:
    """int16 samples at 16 kHz, all channels mixed. 16-bit wave files at 16 kHz need only Python.

    Raises:
        MediaError: the file is not sound.
        MissingDependencyError: any other form needs PyAV.
    """
    try:
        with wave.open(str(path)) as opened:
            if opened.getsampwidth() == 2 and opened.getframerate() == RATE:
                data = opened.readframes(opened.getnframes())
                whole = len(data) - len(data) % (2 * opened.getnchannels())  # the file may be cut off
                return _mean(np.frombuffer(data[:whole], "<i2").reshape(-1, opened.getnchannels()))
    except (wave.Error, EOFError):
        pass
    return _read_any(path)


def _mean(frames: npt.NDArray[np.int16]) -> Int16Array:
    """The mean of all channels: they may hold the same voice, and a sum could saturate."""
    if frames.shape[1] == 1:
        return frames[:, 0].astype(np.int16)
    total = frames.sum(axis=1, dtype=np.int32)
    return np.asarray(total // frames.shape[1], np.int16)


def _read_any(path: Path) -> Int16Array:
    try:
        import av
    except ImportError as error:
        todo = "pip install av, or give a 16-bit wave file at 16 kHz"
        raise MissingDependencyError("this form of sound needs PyAV", where=str(path), todo=todo) from error
    parts = []
    try:
        with av.open(str(path)) as opened:
            if not opened.streams.audio:
                raise MediaError("holds no sound", where=str(path))
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            for frame in opened.decode(opened.streams.audio[0]):
                frame.pts = None
                parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
            parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    except av.FFmpegError as error:
        raise MediaError(f"cannot be read as sound: {error.strerror}", where=str(path)) from error
    return np.concatenate([np.zeros(0, np.int16), *parts]).astype(np.int16)


def parse_event(text: str) -> tuple[int, str]:
    """`12.4:tool: result` as window and text.

    Raises:
        UsageError: the seconds or the text are missing.
    """
    seconds, _, words = text.partition(":")
    try:
        time_s = Decimal(seconds)
    except InvalidOperation:
        time_s = Decimal("NaN")
    # Longer than any stream, and far too small for integers of a million digits.
    if not (time_s.is_finite() and 0 <= time_s < LONGEST_S) or not words.strip():
        raise UsageError(f"not an event: {text!r}", where="--event", todo='as in --event 12.4:"tool: result"')
    return int(time_s * US) // WINDOW_US, words.strip()
