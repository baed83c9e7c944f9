"""Media files made by code, with chirps and numbered pictures at known times.

A chirp starts at every time of `CHIRPS_US`; a matched filter finds it again to a fraction of a
sample even behind a lossy codec. Every picture shows its own number in 16 bright or dark squares,
which survive scaling, letterboxing and JPEG. So the truth is known to the sample and the frame,
and a test never needs the decoder's word for it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Float64Array

BITS = 16
CHIRP_S = 0.08
CHIRPS_US = (300_000, 1_150_000, 2_475_000, 3_310_000, 4_620_000)


def chirp(rate_hz: int, *, shift_s: float = 0.0) -> Float64Array:
    """A sweep from 300 to 3500 Hz under a Hann window; sample n is at n/rate - shift."""
    t = np.arange(int((CHIRP_S + shift_s) * rate_hz) + 1) / rate_hz - shift_s
    inside = (t >= 0) & (t <= CHIRP_S)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * t / CHIRP_S)
    phase = 2 * np.pi * (300 * t + (3500 - 300) * t * t / (2 * CHIRP_S))
    return np.where(inside, 0.6 * window * np.sin(phase), 0.0)


def sound(rate_hz: int, duration_s: float, chirps_us: Sequence[int] = CHIRPS_US) -> Float64Array:
    """A track with a chirp starting at each given time, exact to a fraction of a sample."""
    track = np.zeros(round(duration_s * rate_hz))
    for time_us in chirps_us:
        start = Fraction(time_us * rate_hz, 1_000_000)
        first = int(start)
        burst = chirp(rate_hz, shift_s=float(start - first) / rate_hz)
        room = track[first : first + len(burst)]
        room += burst[: len(room)]
    return track


def find_chirps(pcm: npt.NDArray[np.int16], rate_hz: int) -> list[float]:
    """Onsets in seconds, to a fraction of a sample, in order."""
    template = chirp(rate_hz)
    size = 1 << int(np.ceil(np.log2(len(pcm) + len(template))))
    spectrum = np.fft.rfft(pcm / 32768, size) * np.conj(np.fft.rfft(template, size))
    match = np.fft.irfft(spectrum, size)[: len(pcm)]
    threshold = 0.5 * float(np.dot(template, template))
    found: list[float] = []
    while match.max(initial=0.0) > threshold:
        peak = int(match.argmax())
        left, top, right = match[max(peak - 1, 0)], match[peak], match[min(peak + 1, len(match) - 1)]
        bend = left - 2 * top + right
        found.append((peak + (0.5 * (left - right) / bend if bend else 0.0)) / rate_hz)
        reach = int(CHIRP_S * rate_hz)
        match[max(0, peak - reach) : peak + reach] = 0
    return sorted(found)


def picture(number: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Luma with `number` in a 4x4 grid of squares, least significant bit first, on mid grey."""
    luma = np.full((height, width), 110, np.uint8)
    for bit in range(BITS):
        row, column = divmod(bit, 4)
        top, left = height * (2 * row + 1) // 10, width * (2 * column + 1) // 10
        luma[top : top + height // 8, left : left + width // 8] = 235 if number >> bit & 1 else 16
    return luma


def read_number(luma: npt.NDArray[np.uint8]) -> int:
    """The number shown by a picture that fills `luma`."""
    height, width = luma.shape
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, 4)
        y = height * (2 * row + 1) / 10 + height / 16
        x = width * (2 * column + 1) / 10 + width / 16
        patch = luma[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2]
        number |= int(patch.mean() > 128) << bit
    return number


def jpeg_luma(data: bytes) -> npt.NDArray[np.uint8]:
    with av.open(io.BytesIO(data), format="mjpeg") as container:
        frame = next(container.decode(video=0))
        return frame.reformat(format="gray").to_ndarray()


@dataclass
class Audio:
    codec: str = "aac"
    rate_hz: int = 48_000
    channels: int = 1
    track: Float64Array | None = None
    """Samples of one channel, copied to all; or (channels, samples)."""
    stamps: Callable[[int], int | None] | None = None
    """Presentation time in samples of the chunk whose first sample has this number; None drops the chunk."""
    chunk: int = 1024
    bit_rate: int = 128_000
    options: dict[str, str] = field(default_factory=dict)
    disposition: str = ""


@dataclass
class Video:
    codec: str = "libx264"
    width: int = 320
    height: int = 240
    rate: Fraction = Fraction(30)
    times: Sequence[Fraction] | None = None
    """Presentation time of picture n in seconds; the rate decides where absent."""
    time_base: Fraction | None = None
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    first_number: int = 0


FAST = {
    "libx264": {"preset": "ultrafast", "crf": "20"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
}
FAST["libvpx"] = FAST["libvpx-vp9"] = {"deadline": "realtime", "cpu-used": "8"}


def write_media(
    path: Path,
    *,
    duration_s: float = 6.0,
    audio: Sequence[Audio] = (),
    video: Video | None = None,
    container_format: str | None = None,
    options: dict[str, str] | None = None,
    mux: Callable[[av.Packet], av.Packet | None] | None = None,
) -> Path:
    """Write one file; packets go in by decoding time, as a muxer expects. `mux` may change or drop them."""
    with av.open(str(path), "w", format=container_format, options=options or {}) as container:
        queues: list[list[av.Packet]] = []
        if video is not None:
            queues.append(_video_packets(container, video, duration_s))
        queues += [_audio_packets(container, track, duration_s) for track in audio]
        packets = [packet for queue in queues for packet in queue]
        packets.sort(key=_order)
        for packet in packets:
            changed = mux(packet) if mux else packet
            if changed is not None:
                container.mux(changed)
    return path


def _order(packet: av.Packet) -> Fraction:
    stamp = packet.dts if packet.dts is not None else packet.pts
    return Fraction(stamp or 0) * packet.time_base


def _video_packets(
    container: av.container.OutputContainer, video: Video, duration_s: float
) -> list[av.Packet]:
    stream = container.add_stream(
        video.codec, rate=video.rate, options={**FAST.get(video.codec, {}), **video.options}
    )
    stream.width, stream.height, stream.pix_fmt = video.width, video.height, video.pix_fmt
    stream.codec_context.thread_count = 1
    if video.codec in ("mpeg4", "mjpeg", "mpeg2video", "msmpeg4v3"):
        stream.bit_rate = 2_000_000
    base = video.time_base or 1 / Fraction(video.rate)
    stream.codec_context.time_base = base
    times = video.times
    if times is None:
        times = [Fraction(n) / video.rate for n in range(round(duration_s * video.rate))]
    packets: list[av.Packet] = []
    for number, time in enumerate(times):
        frame = _frame(picture(number + video.first_number, video.width, video.height), video.pix_fmt)
        frame.pts, frame.time_base = round(time / base), base
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _frame(luma: npt.NDArray[np.uint8], pix_fmt: str) -> av.VideoFrame:
    """Grey in studio range: white is 235."""
    height, width = luma.shape
    grey = np.full(luma.shape, 128, np.uint8)
    frame = av.VideoFrame.from_ndarray(np.stack([luma, grey, grey]), format="yuv444p")
    frame.color_range = av.video.reformatter.ColorRange.MPEG
    full = av.video.reformatter.ColorRange.JPEG if pix_fmt.startswith("yuvj") else frame.color_range
    return frame.reformat(width, height, pix_fmt, src_color_range="MPEG", dst_color_range=full)


def _audio_packets(
    container: av.container.OutputContainer, audio: Audio, duration_s: float
) -> list[av.Packet]:
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[audio.channels]
    stream = container.add_stream(audio.codec, rate=audio.rate_hz, layout=layout, options=audio.options)
    if not audio.codec.startswith(("pcm", "flac")):
        stream.bit_rate = audio.bit_rate
    if audio.disposition:
        stream.disposition = av.stream.Disposition[audio.disposition]
    track = audio.track if audio.track is not None else sound(audio.rate_hz, duration_s)
    planes = np.broadcast_to(track, (audio.channels, track.shape[-1]))
    packets: list[av.Packet] = []
    sample_format = stream.codec_context.codec.audio_formats[0].name
    resampler = av.AudioResampler(sample_format, layout, audio.rate_hz)
    for first in range(0, planes.shape[1], audio.chunk):
        stamp = first if audio.stamps is None else audio.stamps(first)
        if stamp is None:
            continue
        block = np.ascontiguousarray(planes[:, first : first + audio.chunk].astype(np.float32))
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = audio.rate_hz, stamp, Fraction(1, audio.rate_hz)
        for converted in resampler.resample(frame):
            converted.pts, converted.time_base = stamp, Fraction(1, audio.rate_hz)
            packets += stream.encode(converted)
    return packets + stream.encode(None)


def id3_with_cover(width: int, height: int) -> bytes:
    """An ID3v2.3 tag with an attached picture."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(picture(7, width, height), format="gray").reformat(format="yuvj420p")
    frame.pts = 0
    image = b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])
    body = b"\x00image/jpeg\x00\x03\x00" + image
    apic = b"APIC" + len(body).to_bytes(4, "big") + b"\x00\x00" + body
    size = len(apic)
    return b"ID3\x03\x00\x00" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + apic
