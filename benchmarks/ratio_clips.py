"""Synthetic clips for the trainer's ratios: two speakers, a room, 320 x 200 pictures; PyAV is optional.

Without PyAV the clips have no sound, so only `max`, which reads mel bytes, can use them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np

from corpus.schemas.activity import SPEECH
from corpus.schemas.artifacts import PICTURE_DTYPE, Decoded, Segment, Voices
from corpus.schemas.clock import FRAMES_PER_WINDOW, WINDOW_US
from corpus.schemas.conversation import Conversation, Turn, Word
from corpus.schemas.recording import Recording
from corpus.schemas.settings import ClipSettings, Settings
from corpus.shards.cut import Material, cut
from corpus.shards.plan import SegmentRef
from corpus.shards.write import write_dataset

WIDTH, HEIGHT, RATE = 320, 200, 16_000
WINDOWS = 150
CONFIG = "c" * 64
SAMPLES = RATE // 5
SPEAKERS = ("S1", "S2")
TURN_WINDOWS = 9
"""A turn of seven windows begins every nine, the speakers alternating."""


def has_av() -> bool:
    return importlib.util.find_spec("av") is not None


def dataset(folder: Path, *, clips: int, pictures: bool) -> Path:
    """A dataset with this many clips of 30 s; an existing one is reused."""
    home = folder / f"{'seen' if pictures else 'heard'}-{clips}"
    out = home / "OUT"
    if (out / "manifest.json").exists():
        return out
    with ExitStack() as stack:
        if not has_av():
            stack.enter_context(mock.patch("corpus.shards.cut.encode_flac", lambda *_: b"fLaC"))
        refs = [_segment(home / str(number), number, pictures) for number in range(clips)]
        write_dataset(out, refs, settings=Settings(), config=CONFIG)
    return out


def _segment(folder: Path, number: int, pictures: bool) -> SegmentRef:
    rng = np.random.default_rng(number)
    name = hashlib.sha256(f"ratios-{number}".encode()).hexdigest()
    decode, voices, out = (folder / part for part in ("decode", "voices", "cut"))
    for path in (decode, voices, out):
        path.mkdir(parents=True, exist_ok=True)
    parts = (Segment(first_window=0, windows=WINDOWS),)
    turns = _turns()
    flags = np.zeros((3, WINDOWS, FRAMES_PER_WINDOW), np.uint8)
    sound = (20 * rng.standard_normal((3, WINDOWS * SAMPLES), np.float32)).astype("<i2")
    for channel, (start, stop) in turns:
        flags[channel, start:stop] = SPEECH
        sound[channel, start * SAMPLES : stop * SAMPLES] *= 100
    for channel in range(3):
        sound[channel].tofile(voices / f"channel-{channel}.i16")
    np.save(voices / "activity.npy", flags)
    if pictures:
        _pictures(decode)
    decoded = Decoded(
        duration_us=WINDOWS * WINDOW_US,
        sample_rate_hz=RATE,
        segments=parts,
        channels=(None,),
        streams=(),
        picture_width=WIDTH if pictures else 0,
        picture_height=HEIGHT if pictures else 0,
    )
    duration_us = WINDOWS * WINDOW_US
    material = Material(
        recording=Recording(hash=name, uri=f"{number}.mp4", files=(), streams=(), duration_us=duration_us),
        conversation=_conversation(name, turns),
        decoded=decoded,
        decode_dir=decode,
        voices=Voices(speakers=SPEAKERS, sample_rate_hz=RATE, segments=parts),
        voices_dir=voices,
    )
    cut(material, out, split="train", settings=ClipSettings(windows_per_clip=WINDOWS), config=CONFIG)
    return SegmentRef(folder=out, recording=name, split="train", digest=name)


def _turns() -> list[tuple[int, tuple[int, int]]]:
    begins = range(2, WINDOWS - TURN_WINDOWS, TURN_WINDOWS)
    return [(place % 2, (begin, begin + 7)) for place, begin in enumerate(begins)]


def _conversation(name: str, turns: list[tuple[int, tuple[int, int]]]) -> Conversation:
    """A conversation with a word of some five letters every 300 ms of speech, as in real speech."""
    said, words = [], []
    for channel, (start, stop) in turns:
        who, first_us, last_us = SPEAKERS[channel], start * WINDOW_US, stop * WINDOW_US
        said.append(Turn(speaker=who, start_us=first_us, stop_us=last_us))
        words += [
            Word(speaker=who, start_us=at, stop_us=at + 300_000, text="words")
            for at in range(first_us, last_us - 300_000, 300_000)
        ]
    return Conversation(
        recording=name,
        duration_us=WINDOWS * WINDOW_US,
        speakers=SPEAKERS,
        turns=tuple(said),
        words=tuple(words),
    )


def _pictures(folder: Path) -> None:
    """JPEGs of some 10 kB, ten different ones in turn."""
    from PIL import Image

    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    jpegs = []
    for shift in range(10):
        file = io.BytesIO()
        pixels = np.roll(blocks, 5 * shift, 1) // 2 + rng.integers(0, 12, blocks.shape, np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", quality=75)
        jpegs.append(file.getvalue())
    table, at = np.zeros(WINDOWS, PICTURE_DTYPE), 0
    with open(folder / "pictures.mjpeg", "wb") as opened:
        for window in range(WINDOWS):
            jpeg = jpegs[window % len(jpegs)]
            table[window] = (at, len(jpeg), (window + 1) * WINDOW_US - 40_000, 0)
            at += opened.write(jpeg)
    np.save(folder / "pictures.npy", table)
