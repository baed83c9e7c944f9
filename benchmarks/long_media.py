"""Long media files for the benchmarks, generated into a cache folder and kept there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph

UNIT_S = 20
"""So much is encoded; longer files repeat it, packet by packet."""
RATE_HZ = 48_000
FPS = 30


def cache_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / "duplex-corpus-benchmarks"
    folder.mkdir(exist_ok=True)
    return folder


def conversation_like(width: int, height: int, seconds: int, *, preset: str = "veryfast") -> Path:
    """A file of `seconds` with a moving test picture and a little noise in H.264, and stereo AAC."""
    path = cache_folder() / f"{width}x{height}-{seconds}s-{preset}.mp4"
    if not path.exists():
        unit = cache_folder() / f"unit-{width}x{height}-{preset}.mp4"
        if not unit.exists():
            _encode(unit, width, height, preset)
        _repeat(unit, path, seconds)
    return path


def _pictures(width: int, height: int) -> Iterator[av.VideoFrame]:
    graph = Graph()
    source = graph.add("testsrc2", f"size={width}x{height}:rate={FPS}:duration={UNIT_S}")
    noise = graph.add("noise", "alls=2:allf=t:all_seed=1")
    shape = graph.add("format", "yuv420p")
    sink = graph.add("buffersink")
    graph.link_nodes(source, noise, shape, sink).configure()
    for _ in range(UNIT_S * FPS):
        frame = graph.vpull()
        assert isinstance(frame, av.VideoFrame)
        yield frame


def _encode(path: Path, width: int, height: int, preset: str) -> None:
    partial = path.with_suffix(".part.mp4")
    with av.open(str(partial), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": preset, "crf": "23"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=RATE_HZ, layout="stereo")
        for number, frame in enumerate(_pictures(width, height)):
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        noise = np.random.default_rng(1).normal(0, 0.1, (2, UNIT_S * RATE_HZ)).astype(np.float32)
        for first in range(0, noise.shape[1], 1024):
            block = np.ascontiguousarray(noise[:, first : first + 1024])
            sound = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            sound.sample_rate, sound.pts, sound.time_base = RATE_HZ, first, Fraction(1, RATE_HZ)
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    partial.rename(path)


def _repeat(unit: Path, path: Path, seconds: int) -> None:
    """Write the unit repeatedly with shifted stamps, audio and video interleaved by decoding time."""
    partial = path.with_suffix(".part.mp4")
    with av.open(str(unit)) as source, av.open(str(partial), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for turn in range(-(-seconds // UNIT_S)):
            source.seek(0)
            packets = [p for p in source.demux() if p.dts is not None and p.pts is not None and p.pts >= 0]
            packets.sort(key=lambda p: (p.dts * p.time_base, p.stream_index))
            for packet in packets:
                shift = int(turn * UNIT_S / packet.time_base)
                if (packet.pts + shift) * packet.time_base >= seconds:
                    continue
                packet.pts += shift
                packet.dts += shift
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    partial.rename(path)
