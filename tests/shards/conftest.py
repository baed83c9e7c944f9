"""Synthetic recordings as the stages before `cut` leave them: channels, activity, pictures, labels."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest

from corpus.schemas.activity import OVERLAP, SPEECH
from corpus.schemas.artifacts import PICTURE_DTYPE, PICTURE_NONE, Decoded, Segment, Voices
from corpus.schemas.clock import FRAME_US, FRAMES_PER_WINDOW, WINDOW_US, samples_per_window
from corpus.schemas.codec import digest
from corpus.schemas.conversation import Conversation, Cue, Event, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.recording import Recording, SourceFile
from corpus.schemas.settings import ClipSettings, Settings, ShardSettings
from corpus.shards.cut import Material, cut
from corpus.shards.write import SegmentRef, write_dataset


def jpegs(count: int, width: int, height: int) -> list[bytes]:
    """Distinct MJPEG pictures: a bar that moves."""
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuvj420p"
    codec.time_base = Fraction(1, 5)
    made = []
    for k in range(count):
        pixels = np.full((height, width, 3), 40, np.uint8)
        at = k * 8 % (width - 8)
        pixels[:, at : at + 8] = (250, 200, 10 * k % 256)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj420p")
        frame.pts = k
        made += [bytes(packet) for packet in codec.encode(frame)]
    return made + [bytes(packet) for packet in codec.encode(None)]


def activity_of(turns: list[Turn], speakers: tuple[str, ...], segments: tuple[Segment, ...]) -> np.ndarray:
    """The rule, slowly: SPEECH where a speaker's turns cover half a frame, OVERLAP with another's."""
    windows = [s.first_window + k for s in segments for k in range(s.windows)]
    flags = np.zeros((len(speakers) + 1, len(windows), FRAMES_PER_WINDOW), np.uint8)
    for place, window in enumerate(windows):
        for f in range(FRAMES_PER_WINDOW):
            start = window * WINDOW_US + f * FRAME_US
            talking = []
            for channel, name in enumerate(speakers):
                covered = [
                    min(t.stop_us, start + FRAME_US) - max(t.start_us, start)
                    for t in turns
                    if t.speaker == name
                ]
                if sum(c for c in covered if c > 0) * 2 >= FRAME_US:
                    talking.append(channel)
            for channel in talking:
                flags[channel, place, f] = SPEECH | (OVERLAP if len(talking) > 1 else 0)
    return flags


def make(
    folder: Path,
    name: str = "talk",
    *,
    segments: tuple[tuple[int, int], ...] = ((0, 23),),
    speakers: tuple[str, ...] = ("S1", "S2"),
    video: bool = True,
    bare: bool = False,
    rate: int = 16000,
    seed: int = 1,
    licence: str | None = "CC-BY-4.0",
    conversation: str | None = None,
    named: tuple[str, ...] = (),
) -> Material:
    """A recording of noise bursts with turns, words, cues and events (none when `bare`)."""
    rng = np.random.default_rng(seed)
    parts = tuple(Segment(first_window=a, windows=n) for a, n in segments)
    written = sum(s.windows for s in parts)
    stop_us = (parts[-1].first_window + parts[-1].windows) * WINDOW_US
    decode_dir, voices_dir = folder / name / "decode", folder / name / "voices"
    decode_dir.mkdir(parents=True)
    voices_dir.mkdir()
    samples = written * samples_per_window(rate)
    for channel in range(len(speakers) + 1):
        loud = 3000 if channel < len(speakers) else 30
        sound = np.clip(rng.standard_normal(samples) * loud, -32768, 32767).astype("<i2")
        sound.tofile(voices_dir / f"channel-{channel}.i16")
    turns: list[Turn] = []
    words: list[Word] = []
    cues: list[Cue] = []
    events: list[Event] = []
    if not bare:
        edges = np.arange(37_000, stop_us - 600_000, 450_000)
        for k, start in enumerate(edges.tolist()):
            who = speakers[k % len(speakers)]
            turns.append(Turn(speaker=who, start_us=start, stop_us=start + 530_000))
            words.append(Word(speaker=who, start_us=start + 10_000, stop_us=start + 200_001, text=f"w{k}"))
        words.append(
            Word(speaker=speakers[0], start_us=None, stop_us=None, text="somewhere", timing="unknown")
        )
        cues.append(
            Cue(
                label="overlap",
                kind="simultaneous",
                speaker=speakers[0],
                start_us=487_000,
                stop_us=567_000,
                confidence=1,
                origin="overlap/1",
            )
        )
        events.append(
            Event(label="note", kind="", speaker=None, start_us=1_000_000, stop_us=1_000_000, origin="test")
        )
    np.save(voices_dir / "activity.npy", activity_of(turns, speakers, parts))
    width, height = (80, 40) if video else (0, 0)
    if video:
        pictures = np.zeros(written, PICTURE_DTYPE)
        at = 0
        made = jpegs(written, width, height)
        numbers = [s.first_window + k for s in parts for k in range(s.windows)]
        with open(decode_dir / "pictures.mjpeg", "wb") as file:
            for k, jpeg in enumerate(made):
                if k == 0:
                    pictures[k] = (-1, 0, -1, PICTURE_NONE)
                    continue
                pictures[k] = (at, len(jpeg), (numbers[k] + 1) * WINDOW_US - 33_000, 0)
                at += file.write(jpeg)
        np.save(decode_dir / "pictures.npy", pictures)
    hash_ = hashlib.sha256(f"{name}{seed}".encode()).hexdigest()
    return Material(
        recording=Recording(
            hash=hash_,
            uri=f"{name}.mp4",
            files=(SourceFile(uri=f"{name}.mp4", sha256=hash_, bytes=1),),
            streams=(),
            duration_us=stop_us,
            licence=licence,
            conversation=conversation,
            speakers=named,
        ),
        conversation=Conversation(
            recording=hash_,
            duration_us=stop_us,
            speakers=speakers,
            turns=tuple(turns),
            words=tuple(words),
            cues=tuple(cues),
            events=tuple(events),
        ),
        decoded=Decoded(
            duration_us=stop_us,
            sample_rate_hz=rate,
            segments=parts,
            channels=(None,),
            streams=(),
            picture_width=width,
            picture_height=height,
        ),
        decode_dir=decode_dir,
        voices=Voices(speakers=speakers, sample_rate_hz=rate, segments=parts),
        voices_dir=voices_dir,
    )


def cut_made(
    made: Material, out: Path, *, split: str = "train", windows: int = 10, frames: Literal[8, 16] = 8
) -> tuple[SegmentRef, list[Drop]]:
    out.mkdir(parents=True)
    settings = ClipSettings(windows_per_clip=windows, frames_per_window=frames)
    drops = cut(made, out, split=split, settings=settings, config="c" * 64)
    key = digest([made.recording.hash, split, windows])
    return SegmentRef(folder=out, recording=made.recording.hash, split=split, digest=key), drops


def make_and_cut(
    folder: Path,
    name: str = "talk",
    *,
    split: str = "train",
    windows: int = 10,
    frames: Literal[8, 16] = 8,
    **options: object,
) -> tuple[SegmentRef, list[Drop]]:
    made = make(folder / "made", name, **options)  # type: ignore[arg-type]
    return cut_made(made, folder / "cut" / name, split=split, windows=windows, frames=frames)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small arrays gain nothing from more, and tests run beside each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_segment() -> Callable[..., tuple[SegmentRef, list[Drop]]]:
    return make_and_cut


@pytest.fixture(scope="session")
def four_segments(tmp_path_factory: pytest.TempPathFactory) -> list[SegmentRef]:
    """Four recordings of a few hundred kilobytes."""
    base = tmp_path_factory.mktemp("four")
    segments = []
    for place, name in enumerate(("one", "two", "three", "four")):
        split = "validation" if name == "four" else "train"
        segments.append(make_and_cut(base, name, split=split, segments=((0, 23 + 7 * place),), seed=place)[0])
    return segments


@pytest.fixture
def refs(four_segments: list[SegmentRef], tmp_path: Path) -> list[SegmentRef]:
    """The four, for this test to change as it likes."""
    shutil.copytree(four_segments[0].folder.parent, tmp_path / "cut")
    return [dataclasses.replace(ref, folder=tmp_path / "cut" / ref.folder.name) for ref in four_segments]


@pytest.fixture
def make_recording(tmp_path: Path) -> Callable[..., Material]:
    def made(name: str = "talk", **options: object) -> Material:
        return make(tmp_path / "made", name, **options)  # type: ignore[arg-type]

    return made


@pytest.fixture
def cut_recording(tmp_path: Path) -> Callable[..., tuple[SegmentRef, list[Drop]]]:
    def made(name: str = "talk", **options: object) -> tuple[SegmentRef, list[Drop]]:
        return make_and_cut(tmp_path, name, **options)  # type: ignore[arg-type]

    return made


SMALL = Settings(shards=ShardSettings(shard_bytes=1024 * 1024))


@pytest.fixture
def small_settings() -> Settings:
    """A build whose shards close at 1 MiB."""
    return SMALL


@pytest.fixture(scope="session")
def whole_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five recordings in three splits and several shards; the first has no labels and no pictures.

    Shared by tests that only read; those that write copy it.
    """
    base = tmp_path_factory.mktemp("whole")
    plans = (
        ("bare", "train", {"bare": True, "video": False}),
        ("talk", "train", {"segments": ((0, 33), (90, 14))}),
        ("three", "train", {"speakers": ("Ann", "Bo", "Cy"), "named": ("Ann", "Bo", "Cy"), "seed": 3}),
        ("valid", "validation", {"licence": None, "conversation": "meeting-1"}),
        ("rate", "test", {"rate": 24000, "speakers": ("S1",)}),
    )
    refs = []
    for name, split, options in plans:
        refs.append(make_and_cut(base, name, split=split, **options)[0])
    out = base / "OUT"
    write_dataset(out, refs, settings=SMALL, config="c" * 64)
    return out


@pytest.fixture
def repo_root() -> Path:
    return Path(__file__).parents[2]
