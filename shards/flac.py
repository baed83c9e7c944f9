"""int16 sound of one to eight channels as FLAC, the same bytes for the same samples."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from corpus.schemas.errors import FormatError, MissingDependencyError

if TYPE_CHECKING:
    import av

MOST_CHANNELS = 8
_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
"""FLAC's own layouts: with any other the file would carry a channel mask."""
_BLOCK_SAMPLES = 1 << 16


def encode_flac(samples: npt.NDArray[np.int16], sample_rate_hz: int) -> bytes:
    """A FLAC file of int16 `[channels, samples]`."""
    import av

    channels = len(samples)
    if not 1 <= channels <= MOST_CHANNELS:
        raise ValueError(f"FLAC holds 1 to {MOST_CHANNELS} channels, got {channels}")
    file = io.BytesIO()
    with av.open(file, "w", format="flac", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("flac", rate=sample_rate_hz, layout=_LAYOUTS[channels - 1])
        stream.codec_context.format = "s16"
        # Twice, for muxer and encoder: each would write its library version into the file.
        stream.codec_context.options = {"flags": "+bitexact"}
        stream.codec_context.thread_count = 1
        for start in range(0, samples.shape[1], _BLOCK_SAMPLES):
            block = samples[:, start : start + _BLOCK_SAMPLES]
            # PyAV takes interleaved samples as one row.
            packed = np.ascontiguousarray(block.T, np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=_LAYOUTS[channels - 1])
            frame.sample_rate = sample_rate_hz
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def decode_flac(data: bytes | memoryview, *, where: str = "") -> npt.NDArray[np.int16]:
    """int16 `[channels, samples]` of a FLAC file.

    Raises:
        FormatError: not FLAC, or damaged.
        MissingDependencyError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("sound is read with PyAV", where=where, todo="pip install av") from error
    try:
        with av.open(io.BytesIO(data), "r", format="flac") as container:
            # Threads would cost more than a clip's decoding.
            container.streams.audio[0].codec_context.thread_count = 1
            blocks = [_block(frame) for frame in container.decode(audio=0)]
    except (av.FFmpegError, IndexError, EOFError) as error:
        raise FormatError(f"the FLAC member cannot be decoded: {error}", where=where) from error
    if not blocks or len({len(block) for block in blocks}) > 1:
        raise FormatError("the FLAC member holds no sound of one shape", where=where)
    return np.concatenate(blocks, 1)


def decode_flac_end(data: bytes | memoryview, samples: int, *, where: str = "") -> npt.NDArray[np.int16]:
    """The last samples of a FLAC file, int16 `[channels, samples]`, decoding little before them.

    Raises:
        FormatError: not FLAC, damaged, or shorter.
        MissingDependencyError: PyAV is not installed.
    """
    decoded = _decode_from(data, samples)
    if decoded is None or decoded.shape[1] < samples:
        decoded = decode_flac(data, where=where)
    if decoded.shape[1] < samples:
        raise FormatError(f"the FLAC member holds fewer than {samples} samples", where=where)
    return decoded[:, -samples:]


def _decode_from(data: bytes | memoryview, samples: int) -> npt.NDArray[np.int16] | None:
    """The sound from a seek to `samples` before the end on; None if the file is too short to seek in."""
    try:
        import av
    except ImportError:
        return None
    try:
        with av.open(io.BytesIO(data), "r", format="flac") as container:
            stream = container.streams.audio[0]
            stream.codec_context.thread_count = 1
            # Backward to a frame's start: what comes before `samples` is cut off by the caller.
            container.seek(max(0, (stream.duration or 0) - samples), stream=stream, backward=True)
            return np.concatenate([_block(frame) for frame in container.decode(audio=0)], 1)
    except (av.FFmpegError, IndexError, EOFError, ValueError):
        return None


def _block(frame: av.AudioFrame) -> npt.NDArray[np.int16]:
    if frame.format.name != "s16":
        raise EOFError(f"samples are {frame.format.name}, not 16 bit")
    packed = np.asarray(frame.to_ndarray(), np.int16)
    return packed.reshape(-1, frame.layout.nb_channels).T
