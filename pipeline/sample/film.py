"""A real telephone call with a drawn picture, so that sound, picture and truth can be compared.

The call ships inside the pyannote.audio wheel: 30 s, two speakers, real overlap, with an annotation of who
speaks when. The mouths follow that annotation and a corner counts windows, so a clock error is visible.
"""

from __future__ import annotations

import importlib.util
import io
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from corpus.schemas.clock import US, us_from_seconds
from corpus.schemas.conversation import Turn
from corpus.schemas.errors import MissingDependencyError, StorageError
from corpus.schemas.files import write_whole

FRAMES_PER_SECOND = 25
"""Five pictures per window, so the last of window k is frame 5 k + 4."""


class _Call(NamedTuple):
    """The sample's sound and the truth about who speaks when."""

    samples: npt.NDArray[np.int16]
    rate_hz: int
    duration_us: int
    turns: tuple[Turn, ...]


def write_sample(out: Path, *, progress: Callable[[int], None] | None = None) -> None:
    """Write the sample call as an mp4: H.264 at 25 frames a second, AAC at the call's own rate.

    The bytes are the same each time on one machine. `progress` gets the microseconds written so far.

    Raises:
        MissingDependencyError: pyannote.audio, whose wheel holds the call, is not installed.
        StorageError: `out` cannot be written.
    """
    call = read_call(find_call())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, _film(call, progress or (lambda until_us: None)))
    except OSError as error:
        raise StorageError(f"cannot write: {error.strerror or error}", where=str(out)) from error


def find_call() -> Path:
    """The folder of the installed pyannote.audio that holds `sample.wav` and `sample.rttm`.

    Looks the package up without importing it, which would load torch.
    """
    spec = importlib.util.find_spec("pyannote") and importlib.util.find_spec("pyannote.audio")
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
    turns = []
    for line in (folder / "sample.rttm").read_text(encoding="utf-8").splitlines():
        _, _, _, start, duration, _, _, speaker, *_ = line.split()
        start_us = us_from_seconds(start)
        turns.append(Turn(speaker=speaker, start_us=start_us, stop_us=start_us + us_from_seconds(duration)))
    return _Call(samples, rate_hz, len(samples) * US // rate_hz, tuple(turns))


def _loudness(sounds: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Loudness under each picture, in [0, 1], shape (frames,), of sound of shape (frames, samples)."""
    level = np.sqrt((sounds**2).mean(axis=1))
    # Relative to the loud end, so that a quiet call moves its mouths too.
    return np.asarray(np.clip(level / np.percentile(level, 97), 0, 1), np.float32)


def _film(call: _Call, progress: Callable[[int], None]) -> bytes:
    import av

    from corpus.pipeline.sample.scene import HEIGHT, WIDTH, draw_scene

    sounds = call.samples.reshape(-1, call.rate_hz // FRAMES_PER_SECOND).astype(np.float32)
    sounds /= 32768
    film = io.BytesIO()
    # bitexact keeps versions and dates out of the file; x264's decisions depend on the number of threads.
    with av.open(film, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.options = {"preset": "medium", "crf": "20", "bf": "0", "threads": "1", "flags": "+bitexact"}
        video.codec_context.thread_count = 1
        audio = container.add_stream("aac", rate=call.rate_hz)
        audio.layout, audio.bit_rate = "mono", 64_000
        audio.options = {"flags": "+bitexact", "threads": "1"}
        for number, level in enumerate(_loudness(sounds)):
            time_us = number * US // FRAMES_PER_SECOND
            scene = draw_scene(time_us, call.turns, float(level), call.duration_us)
            picture = av.VideoFrame.from_ndarray(np.asarray(scene), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            sound = av.AudioFrame.from_ndarray(sounds[number : number + 1], format="fltp", layout="mono")
            sound.sample_rate, sound.time_base = call.rate_hz, Fraction(1, call.rate_hz)
            sound.pts = number * sounds.shape[1]
            container.mux(video.encode(picture))
            container.mux(audio.encode(sound))
            progress(time_us + US // FRAMES_PER_SECOND)
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return film.getvalue()
