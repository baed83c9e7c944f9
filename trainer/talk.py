"""A recorded user against a model: what the user said is played window by window, the model answers.

    FOLDER/talk.wav           stereo, 16 bit: left the user, right the model
    FOLDER/transcript.jsonl   what was written and told, with window and time
    FOLDER/timing.csv         every window: speak, p_speak, milliseconds, late

Real time is simulated: nothing waits. What the model answers to window i is heard in window i + 1, whatever
it took; a window is late where the answer came more than 200 ms after its input, backlog included. Times are
the model's: the mel of the user's sound, a third of a millisecond a window, is made before.
"""

from __future__ import annotations

import csv
import io
import json
import wave
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpus.schemas.clock import US, WINDOW_US, samples_per_window
from corpus.schemas.errors import MediaError, MissingDependencyError, StorageError, UsageError
from corpus.shards.read import open_clips
from corpus.trainer.clip_head import read_head
from corpus.trainer.model import InteractionModel
from corpus.trainer.sampling import Sampling
from corpus.trainer.session import MicroTurn, MicroTurnOut, Session
from corpus.trainer.text import decode, event_tokens
from corpus.trainer.timing import runs
from corpus.trainer.views import heard_alone, heard_by, mixed
from corpus.trainer.vocoder import sound_of

RATE = 16_000
WINDOW_SAMPLES = samples_per_window(RATE)
WINDOW_MS = WINDOW_US / 1000
LONGEST_S = 1_000_000_000

Samples = npt.NDArray[np.int16]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """What comes to the model, window by window."""

    samples: Samples
    """Whole windows at 16 kHz, as they were recorded."""
    heard: Bytes | None
    """Mel bytes `[W, F, M]` of them with the room's noise, of a clip; of a sound file the model decides F."""
    pictures: Mapping[int, Bytes]
    events: tuple[tuple[int, str], ...]
    """Window and text, in order."""

    @property
    def windows(self) -> int:
        return len(self.samples) // WINDOW_SAMPLES


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkResult:
    """A finished conversation."""

    windows: int
    unread: int
    """Characters the model was to be told, but for which the stream had no window left."""
    spoken: int
    text: str
    late: int
    median_ms: float
    p99_ms: float
    files: tuple[str, ...]


def user_of(named: str, speaker: str | None = None) -> User:
    """The user stream `FILE` or `OUT:KEY`: a sound file, or a clip whose `speaker` the model stands for.

    Raises:
        UsageError: neither, or no such clip or speaker.
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
    told = [
        (notes.window(at), decode(tokens)) for who, at, _, _, tokens in notes.events if who in (None, speaker)
    ]
    return User(
        samples=_whole(mixed(clip.audio(), channel)),
        heard=heard_by(clips, place, channel, head.windows, sample_rate_hz=RATE, hears="mix").sound_NFM,
        pictures={window: picture for window, picture in seen.items() if picture is not None},
        events=tuple((window, text) for window, text in told if 0 <= window < head.windows),
    )


def _whole(samples: Samples) -> Samples:
    """Filled up with silence to whole windows."""
    return np.pad(samples, (0, -len(samples) % WINDOW_SAMPLES))


def read_sound(path: Path) -> Samples:
    """int16 at 16 kHz, all channels mixed. 16-bit wave files at 16 kHz need nothing but Python.

    Raises:
        MediaError: not sound.
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


def _mean(frames: npt.NDArray[np.int16]) -> Samples:
    """Channels of one microphone hold the same voice: their mean does not saturate."""
    if frames.shape[1] == 1:
        return frames[:, 0].astype(np.int16)
    total = frames.sum(axis=1, dtype=np.int32)
    return np.asarray(total // frames.shape[1], np.int16)


def _read_any(path: Path) -> Samples:
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
        UsageError: no seconds, or nothing to tell.
    """
    seconds, _, told = text.partition(":")
    try:
        time_s = Decimal(seconds)
    except InvalidOperation:
        time_s = Decimal("NaN")
    # Longer than any stream, and far less than makes whole numbers of a million digits.
    if not (time_s.is_finite() and 0 <= time_s < LONGEST_S) or not told.strip():
        raise UsageError(f"not an event: {text!r}", where="--event", todo='as in --event 12.4:"tool: result"')
    return int(time_s * US) // WINDOW_US, told.strip()


def talk(
    model: InteractionModel,
    user: User,
    out: Path,
    *,
    events: Iterable[tuple[int, str]] = (),
    sampling: Sampling | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TalkResult:
    """Play a user to a model and write what happened.

    Raises:
        UsageError: an event after the end, or pictures the model cannot take.
        StorageError: `out` cannot be written.
    """
    told = sorted([*user.events, *events], key=lambda event: event[0])
    if told and told[-1][0] >= user.windows:
        ends = user.windows * WINDOW_US / US
        raise UsageError(
            f"an event in window {told[-1][0]}, the user stream ends at {ends:.1f} s", where="--event"
        )
    outs, unread = run(model, user, told, sampling=sampling, seed=seed, progress=progress)
    late = late_windows([each.ms for each in outs])
    files = {
        "talk.wav": _wave(user.samples, voice_of(outs)),
        "transcript.jsonl": _transcript(outs, told).encode(),
        "timing.csv": _table(outs, late).encode(),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (out / name).write_bytes(data)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(out)) from error
    ms = np.array([each.ms for each in outs] or [0.0])
    return TalkResult(
        windows=len(outs),
        unread=len(unread),
        spoken=sum(each.speak for each in outs),
        text="".join(each.text for each in outs),
        late=sum(late),
        median_ms=float(np.median(ms)),
        p99_ms=float(np.percentile(ms, 99)),
        files=tuple(str(out / name) for name in files),
    )


def run(
    model: InteractionModel,
    user: User,
    events: Sequence[tuple[int, str]],
    *,
    sampling: Sampling | None,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[MicroTurnOut], str]:
    """One session over the whole stream; and what it was told but had no window left to read."""
    config = model.config
    sees = config.patches > 0 and bool(user.pictures)
    session = Session(
        model,
        sampling=sampling,
        seed=seed,
        max_seconds=user.windows * WINDOW_US / US,
        history_turns=0,
        pictures=sees,
    )
    heard_WFM = user.heard
    if heard_WFM is None:
        heard_WFM = heard_alone(user.samples, RATE, config.frames_per_window)
    outs = []
    for window in range(user.windows):
        texts = [text for at, text in events if at == window]
        tokens = tuple(token for text in texts for token in event_tokens(text))
        frame = user.pictures.get(window) if sees else None
        outs.append(session.step(MicroTurn(audio=heard_WFM[window], frame=frame, tokens=tokens)))
        if progress is not None:
            progress(window + 1, user.windows)
    return outs, decode(session.state_dict()["waiting"])


def late_windows(ms: Sequence[float]) -> list[bool]:
    """Whether each answer came after its window's deadline, if inputs come every 200 ms and queue up."""
    late, ready = [], 0.0
    for turn, each in enumerate(ms):
        arrived = (turn + 1) * WINDOW_MS
        ready = max(ready, arrived) + each
        late.append(ready - arrived > WINDOW_MS)
    return late


def voice_of(outs: Sequence[MicroTurnOut]) -> Samples:
    """The model's sound, a window later than decided: one window longer than the conversation."""
    samples = np.zeros((len(outs) + 1) * WINDOW_SAMPLES, np.int16)
    for start, stop in runs(np.array([out.speak for out in outs], bool)):
        mels = [mel for out in outs[start:stop] if (mel := out.mel) is not None]
        first = (start + 1) * WINDOW_SAMPLES
        samples[first : first + len(mels) * WINDOW_SAMPLES] = sound_of(
            np.concatenate(mels), frames_per_window=len(mels[0])
        )
    return samples


def _wave(left: Samples, right: Samples) -> bytes:
    length = max(len(left), len(right))
    both = np.stack([np.pad(side, (0, length - len(side))) for side in (left, right)], axis=1)
    return wave_bytes(both)


def wave_bytes(samples: npt.NDArray[np.int16]) -> bytes:
    """A 16 kHz wave file of `[samples, channels]`."""
    file = io.BytesIO()
    with wave.open(file, "wb") as opened:
        opened.setnchannels(samples.shape[1])
        opened.setsampwidth(2)
        opened.setframerate(RATE)
        opened.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def _transcript(outs: Sequence[MicroTurnOut], events: Sequence[tuple[int, str]]) -> str:
    """Events at the window they were told in, the model's text at the window it is heard in."""
    lines = [(at, 0, "event", text) for at, text in events]
    lines += [(out.turn + 1, 1, "model", out.text) for out in outs if out.text]
    rows = [
        {"window": window, "time_s": window * WINDOW_US / US, "who": who, "text": text}
        for window, _, who, text in sorted(lines, key=lambda line: line[:2])
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _table(outs: Sequence[MicroTurnOut], late: Sequence[bool]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["window", "speak", "p_speak", "ms", "late"])
    for out, missed in zip(outs, late, strict=True):
        writer.writerow([out.turn, int(out.speak), f"{out.p_speak:.6f}", f"{out.ms:.3f}", int(missed)])
    return file.getvalue()
