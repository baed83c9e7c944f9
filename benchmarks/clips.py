"""Segments of realistic clips for the benchmarks of shards, and printing of figures."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from corpus.schemas.artifacts import PICTURE_DTYPE, Decoded, Segment, Voices
from corpus.schemas.conversation import Conversation, Turn, Word
from corpus.schemas.recording import Recording
from corpus.schemas.settings import ClipSettings
from corpus.shards.cut import Material, cut
from corpus.shards.plan import SegmentRef

WIDTH, HEIGHT = 320, 200


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def show(what: str, ratios: Sequence[float], **more: object) -> None:
    """One JSON line with the spread of a ratio."""
    figures = {
        "what": what,
        "rounds": len(ratios),
        "ratio_min": round(min(ratios), 3),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_max": round(max(ratios), 3),
    }
    print(json.dumps(figures | more))


def segments(folder: Path, recordings: int, minutes: int) -> list[SegmentRef]:
    """Recordings of two speakers and a 320x200 picture, cut into clips of 30 s."""
    return [_segment(folder, number, minutes) for number in range(recordings)]


def _segment(folder: Path, number: int, minutes: int) -> SegmentRef:
    rng = np.random.default_rng(number)
    decode, voices, out = (folder / f"{number}" / name for name in ("decode", "voices", "cut"))
    for path in (decode, voices, out):
        path.mkdir(parents=True)
    parts = (Segment(first_window=0, windows=minutes * 300),)
    _pictures(decode, parts[0].windows, rng)
    for channel in range(3):
        _sound(rng, parts[0].windows * 3200).tofile(voices / f"channel-{channel}.i16")
    turns = [
        Turn(speaker=f"S{1 + k % 2}", start_us=k * 1_500_000, stop_us=(k + 1) * 1_500_000 + 200_000)
        for k in range(minutes * 40 - 1)
    ]
    words = [
        Word(speaker=f"S{1 + k // 5 % 2}", start_us=k * 300_000, stop_us=(k + 1) * 300_000, text="word")
        for k in range(minutes * 200)
    ]
    np.save(voices / "activity.npy", np.zeros((3, parts[0].windows, 8), np.uint8))
    name = hashlib.sha256(str(number).encode()).hexdigest()
    duration_us = minutes * 60_000_000
    material = Material(
        recording=Recording(hash=name, uri=f"{number}.mp4", files=(), streams=(), duration_us=duration_us),
        conversation=Conversation(
            recording=name,
            duration_us=duration_us,
            speakers=("S1", "S2"),
            turns=tuple(turns),
            words=tuple(words),
        ),
        decoded=Decoded(
            duration_us=duration_us,
            sample_rate_hz=16000,
            segments=parts,
            channels=(None,),
            streams=(),
            picture_width=WIDTH,
            picture_height=HEIGHT,
        ),
        decode_dir=decode,
        voices=Voices(speakers=("S1", "S2"), sample_rate_hz=16000, segments=parts),
        voices_dir=voices,
    )
    cut(
        material,
        out,
        split="train",
        settings=ClipSettings(),
        config="c" * 64,
    )
    return SegmentRef(folder=out, recording=name, split="train", digest=name)


def _sound(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Noise that swells and fades, with the spectral slope of speech."""
    white = np.convolve(rng.standard_normal(samples), 0.9 ** np.arange(40), mode="same")
    swell = np.maximum(0.01, np.sin(np.arange(samples) / 16000 * 2))
    return np.clip(white * swell * 1500, -32768, 32767).astype("<i2")


def _pictures(folder: Path, windows: int, rng: np.random.Generator) -> None:
    """JPEGs of some 8 kB; ten different ones in turn."""
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
    codec.time_base = Fraction(1, 5)
    base = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    jpegs: list[bytes] = []
    for k in range(10):
        pixels = (np.roll(base, 5 * k, 1) // 2 + rng.integers(0, 12, base.shape)).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj420p")
        frame.pts = k
        jpegs += [bytes(packet) for packet in codec.encode(frame)]
    table = np.zeros(windows, PICTURE_DTYPE)
    at = 0
    with open(folder / "pictures.mjpeg", "wb") as file:
        for k in range(windows):
            jpeg = jpegs[k % len(jpegs)]
            table[k] = (at, len(jpeg), (k + 1) * 200_000 - 40_000, 0)
            at += file.write(jpeg)
    np.save(folder / "pictures.npy", table)
