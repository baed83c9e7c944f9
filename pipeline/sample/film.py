"""A real telephone call with a drawn picture, so that sound, picture and truth can be compared.

The call ships inside the pyannote.audio wheel: 30 s, two speakers, real overlap, with who speaks when.
The mouths follow that truth and a corner counts windows, so an error of the clock can be seen.
"""

from __future__ import annotations

import importlib.util
import os
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from corpus.pipeline.sample.counter import HEIGHT, WIDTH
from corpus.pipeline.sample.scene import draw_scene
from corpus.schemas.clock import US, us_from_seconds
from corpus.schemas.conversation import Turn
from corpus.schemas.errors import MissingDependencyError, StorageError

if TYPE_CHECKING:
    import av
    from av.container import OutputContainer

FRAMES_PER_SECOND = 25
"""Five pictures a window, so the last of window k is frame 5 k + 4."""
_AUDIO_BLOCK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """The sample's sound and the truth about who speaks when."""

    samples: npt.NDArray[np.int16]
    rate_hz: int
    turns: tuple[Turn, ...]

    @property
    def duration_us(self) -> int:
        return len(self.samples) * US // self.rate_hz


def write_sample(out: Path, *, progress: Callable[[int], None] | None = None) -> None:
    """Write the sample call as an mp4: H.264 at 25 frames a second, AAC at the call's own rate.

    The bytes are the same each time on one machine. `progress` gets the microseconds written so far.

    Raises:
        MissingDependencyError: pyannote.audio, whose wheel holds the call, is not installed.
        StorageError: `out` cannot be written.
    """
    call = read_call(find_call())
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            _mux(call, partial, progress)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write: {error.strerror or error}", where=str(out)) from error


def find_call() -> Path:
    """The folder of the installed pyannote.audio that holds `sample.wav` and `sample.rttm`.

    Looks the package up without importing it, which would load torch.
    """
    try:
        spec = importlib.util.find_spec("pyannote.audio")
    except ModuleNotFoundError:
        spec = None
    folder = Path(spec.origin).parent / "sample" if spec and spec.origin else None
    if folder is None or not (folder / "sample.wav").is_file():
        raise MissingDependencyError(
            "the sample call ships with pyannote.audio, which is not installed",
            todo='pip install "duplex-corpus[models]"',
        )
    return folder


def read_call(folder: Path) -> _Call:
    with wave.open(str(folder / "sample.wav"), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        rate_hz = file.getframerate()
    return _Call(samples=samples, rate_hz=rate_hz, turns=tuple(_read_turns(folder / "sample.rttm")))


def _read_turns(rttm: Path) -> Iterator[Turn]:
    for line in rttm.read_text(encoding="utf-8").splitlines():
        _, _, _, start, duration, _, _, speaker, *_ = line.split()
        start_us = us_from_seconds(start)
        yield Turn(speaker=speaker, start_us=start_us, stop_us=start_us + us_from_seconds(duration))


def _loudness(call: _Call) -> npt.NDArray[np.float64]:
    """Loudness of the sound under each video frame, in [0, 1], shape (frames,)."""
    per_frame = call.rate_hz // FRAMES_PER_SECOND
    frames = len(call.samples) // per_frame
    blocks = call.samples[: frames * per_frame].reshape(frames, per_frame).astype(np.float64)
    # Relative to the loud end, so that a quiet call moves its mouths too.
    level = np.sqrt((blocks**2).mean(axis=1))
    return np.asarray(np.clip(level / max(float(np.percentile(level, 97)), 1.0), 0, 1))


def _mux(call: _Call, path: Path, progress: Callable[[int], None] | None) -> None:
    import av

    # faststart is left out: it rewrites the file. bitexact keeps versions and dates out of it.
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video, audio = _add_streams(container, call.rate_hz)
        level, place = _loudness(call), 0
        for frame in range(len(level)):
            time_us = frame * US // FRAMES_PER_SECOND
            picture = draw_scene(time_us, call.turns, float(level[frame]), call.duration_us)
            shown = av.VideoFrame.from_ndarray(picture, format="rgb24")
            shown.pts, shown.time_base = frame, Fraction(1, FRAMES_PER_SECOND)
            container.mux(video.encode(shown))
            until = (frame + 1) * call.rate_hz // FRAMES_PER_SECOND
            # Interleave as players expect: sound up to the picture's end.
            while place + _AUDIO_BLOCK <= until:
                container.mux(audio.encode(_sound(call, place)))
                place += _AUDIO_BLOCK
            if progress:
                progress(time_us + US // FRAMES_PER_SECOND)
        while place < len(call.samples):
            container.mux(audio.encode(_sound(call, place)))
            place += _AUDIO_BLOCK
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _add_streams(container: OutputContainer, rate_hz: int) -> tuple[av.VideoStream, av.AudioStream]:
    video = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    # One thread, because x264's decisions depend on their number; no B-frames keep the stamps plain.
    video.options = {"preset": "medium", "crf": "20", "bf": "0", "threads": "1", "flags": "+bitexact"}
    video.codec_context.thread_count = 1
    audio = container.add_stream("aac", rate=rate_hz)
    audio.layout, audio.bit_rate = "mono", 64_000
    audio.options = {"flags": "+bitexact", "threads": "1"}
    return video, audio


def _sound(call: _Call, start: int) -> av.AudioFrame:
    import av

    part = call.samples[start : start + _AUDIO_BLOCK].astype(np.float32) / 32768
    sound = av.AudioFrame.from_ndarray(part[None, :], format="fltp", layout="mono")
    sound.sample_rate, sound.pts, sound.time_base = call.rate_hz, start, Fraction(1, call.rate_hz)
    return sound
