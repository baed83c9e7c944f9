"""A recorded user talks to a model: the recording is played window by window, and the model answers.

    FOLDER/talk.wav           stereo, 16 bit: the user on the left, the model on the right
    FOLDER/transcript.jsonl   the model's text and the events, with window and time
    FOLDER/timing.csv         for each window: speak, p_speak, milliseconds, late
    FOLDER/cues.csv           for each window: the model's beliefs about cues, if it was trained on them

Real time is simulated: nothing waits. The answer to window i is heard in window i + 1, however long it took,
and 25 ms late (vocoder.py). A window is late if its answer came more than 200 ms after its input, including
any backlog. Times are the model's alone: the mel of the user's sound, a third of a millisecond per window, is
computed in advance.
"""

from __future__ import annotations

import csv
import io
import json
import wave
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Int16Array
from corpus.schemas.clock import US, WINDOW_US
from corpus.schemas.errors import StorageError, UsageError
from corpus.trainer.data.hearing import heard_alone
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.session.session import MicroTurn, MicroTurnOut, Session
from corpus.trainer.session.talk_user import RATE, WINDOW_SAMPLES, User

WINDOW_MS = WINDOW_US / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _TalkResult:
    """A finished conversation."""

    windows: int
    unread: int
    """Characters of events for which the stream had no window left."""
    spoken: int
    text: str
    late: int
    median_ms: float
    p99_ms: float
    files: tuple[str, ...]


def talk(
    model: InteractionModel,
    user: User,
    out: Path,
    *,
    events: Iterable[tuple[int, str]] = (),
    sampling: Sampling | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> _TalkResult:
    """Play a user to a model and write the conversation.

    Raises:
        UsageError: an event after the end, or pictures that the model cannot take.
        StorageError: `out` cannot be written.
    """
    all_events = sorted([*user.events, *events], key=lambda event: event[0])
    if all_events and all_events[-1][0] >= user.windows:
        ends = user.windows * WINDOW_US / US
        raise UsageError(
            f"an event in window {all_events[-1][0]}, the user stream ends at {ends:.1f} s", where="--event"
        )
    outs, unread = run(model, user, all_events, sampling=sampling, seed=seed, progress=progress)
    late = late_windows([each.ms for each in outs])
    files = {
        "talk.wav": _wave(user.samples, voice_of(outs)),
        "transcript.jsonl": _transcript(outs, all_events).encode(),
        "timing.csv": _table(outs, late).encode(),
    }
    if any(each.cues for each in outs):
        files["cues.csv"] = _cue_table(outs).encode()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (out / name).write_bytes(data)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(out)) from error
    ms = np.array([each.ms for each in outs] or [0.0])
    return _TalkResult(
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
    """Run one session over the whole stream; returns its outputs, and the text it had no window left for."""
    config = model.config
    sees = config.patches > 0 and bool(user.pictures)
    session = Session(
        model,
        sampling=sampling,
        seed=seed,
        max_seconds=user.windows * WINDOW_US / US,
        history_turns=0,
        pictures=sees,
        sound=True,
    )
    heard_WFM = user.heard
    if heard_WFM is None:
        heard_WFM = heard_alone(user.samples, RATE, config.frames_per_window)
    outs = []
    for window in range(user.windows):
        texts = [text for at, text in events if at == window]
        tokens = tuple(token for text in texts for token in model.tokenizer.event(text))
        frame = user.pictures.get(window) if sees else None
        outs.append(session.step(MicroTurn(audio=heard_WFM[window], frame=frame, tokens=tokens)))
        if progress is not None:
            progress(window + 1, user.windows)
    return outs, model.tokenizer.decode(session.waiting)


def late_windows(ms: Sequence[float]) -> list[bool]:
    """Whether each answer missed its deadline, if inputs come every 200 ms and queue up."""
    late, ready = [], 0.0
    for turn, each in enumerate(ms):
        arrived = (turn + 1) * WINDOW_MS
        ready = max(ready, arrived) + each
        late.append(ready - arrived > WINDOW_MS)
    return late


def voice_of(outs: Sequence[MicroTurnOut]) -> Int16Array:
    """The model's sound as played, a window after it was decided and so one window longer than the
    conversation. The session must make sound."""
    samples = np.zeros((len(outs) + 1) * WINDOW_SAMPLES, np.int16)
    for place, out in enumerate(outs, 1):
        if out.audio is not None:
            samples[place * WINDOW_SAMPLES : (place + 1) * WINDOW_SAMPLES] = out.audio
    return samples


def _wave(left: Int16Array, right: Int16Array) -> bytes:
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
    """Events at the window in which they were given, the model's text at the window in which it is heard."""
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


def _cue_table(outs: Sequence[MicroTurnOut]) -> str:
    """One row per window, two columns for each label and whose cue it is, such as `hold.others.begins`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{cue.label}.{'own' if cue.own else 'others'}" for cue in outs[0].cues]
    writer.writerow(["window", *(f"{name}.{what}" for name in names for what in ("begins", "holds"))])
    for out in outs:
        values = (p for cue in out.cues for p in (cue.p_begins, cue.p_holds))
        writer.writerow([out.turn, *(f"{p:.4f}" for p in values)])
    return file.getvalue()
