"""Generated corpora whose rules are known, written as real datasets through cut and write_dataset.

    beep    "answer two windows after the beep", "never over speech": the room beeps, and sometimes talks
            right after. Bo says "yes" for two windows from window b + 2 on when the beep was in b,
            unless somebody talks in b + 1.
    count   "say the count when the shape has moved n times": a note in window 0 gives n, 1 to 3; a square
            goes clockwise round the corners of an 80 x 80 picture, one move at a time; Bo says the number
            two windows after the n-th move of every round. A clip of 60 windows is one row of 375
            positions: what stands in the next row no longer knows the note.
    talk    no rule: random turns, words, notes, pictures and flags of up to three speakers, for tests of
            the data path; its words are long enough to spill.

Everything is a function of the names, so the same call writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from corpus.schemas.activity import PADDED, SPEECH, UNRELIABLE
from corpus.schemas.artifacts import PICTURE_DTYPE, PICTURE_NONE, Decoded, Segment, Voices
from corpus.schemas.clip import clip_key
from corpus.schemas.clock import FRAME_US, FRAMES_PER_WINDOW, WINDOW_US
from corpus.schemas.codec import digest
from corpus.schemas.conversation import Answer, Conversation, Cue, Event, LabelMade, Turn, Word
from corpus.schemas.recording import Recording, SourceFile
from corpus.schemas.settings import ClipSettings, Settings, ShardSettings
from corpus.shards.cut import Material, cut
from corpus.shards.write import SegmentRef, write_dataset

RATE = 16_000
SAMPLES = RATE // 5
SIDE = 80
CONFIG = "c" * 64
ANSWER_AFTER = 2
ANSWER_WINDOWS = 2
SQUARE = 24
CLOCKWISE = (0, 1, 3, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the rule asks of Bo in one clip."""

    cues: tuple[int, ...]
    """Windows of the beeps, or of every round's n-th move."""
    answers: tuple[int, ...]
    """Windows in which Bo begins to speak."""
    speaks: tuple[bool, ...]
    """Whether Bo speaks in each window."""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A dataset and, by clip key, what the rule asks."""

    path: Path
    truths: Mapping[str, Truth]


@dataclass(kw_only=True)
class Draft:
    """A recording being made up: sound per speaker and room, and what happens in it."""

    name: str
    windows: int
    speakers: tuple[str, ...] = ("Bo",)
    split: str = "train"
    clip_windows: int | None = None
    """Windows of its clips, where they differ from the dataset's."""
    sound: np.ndarray = field(init=False)
    flags: np.ndarray = field(init=False)
    turns: list[Turn] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    cues: list[Cue] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    made: list[LabelMade] = field(default_factory=list)
    pictures: list[int | bytes | None] | None = None
    """Which patch the square is in, per window; or a JPEG of `picture_size`."""
    picture_size: tuple[int, int] = (SIDE, SIDE)

    def __post_init__(self) -> None:
        self.sound = np.zeros((len(self.speakers) + 1, self.windows * SAMPLES), np.int16)
        self.flags = np.zeros((len(self.speakers) + 1, self.windows, FRAMES_PER_WINDOW), np.uint8)
        self.rng = np.random.default_rng(int(self.hash[:15], 16))

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    def tone(self, channel: int, window: float, windows: float, hz: float, loud: int) -> None:
        """A tone with its first overtone, added to a channel."""
        first, count = round(window * SAMPLES), round(windows * SAMPLES)
        phase = 2 * np.pi * hz * np.arange(count) / RATE
        wave = loud * (np.sin(phase) + 0.5 * np.sin(2 * phase))
        part = self.sound[channel, first : first + count]
        part += wave[: len(part)].astype(np.int16)

    def noise(self, channel: int, window: int, windows: int, loud: int) -> None:
        part = self.sound[channel, window * SAMPLES : (window + windows) * SAMPLES]
        part += (loud * self.rng.standard_normal(len(part))).astype(np.int16)

    def speak(self, channel: int, start_us: int, stop_us: int, text: str = "") -> None:
        """A turn with its activity, and its words in equal parts of it."""
        who = self.speakers[channel]
        self.turns.append(Turn(speaker=who, start_us=start_us, stop_us=stop_us))
        self.flags[channel].reshape(-1)[start_us // FRAME_US : -(-stop_us // FRAME_US)] |= SPEECH
        words = text.split()
        for k, word in enumerate(words):
            at = start_us + k * (stop_us - start_us) // len(words)
            end = start_us + (k + 1) * (stop_us - start_us) // len(words)
            self.words.append(Word(speaker=who, start_us=at, stop_us=end, text=word))

    def note(self, window: int, text: str, speaker: str | None = None) -> None:
        at, payload = window * WINDOW_US, json.dumps({"text": text})
        made = Event(
            label="note", kind="", speaker=speaker, start_us=at, stop_us=at, origin="x", payload=payload
        )
        self.events.append(made)


def beep(name: str, windows: int) -> tuple[Draft, Truth]:
    draft = Draft(name=name, windows=windows)
    room, rng = 1, draft.rng
    cues, answers, speaks = [], [], [False] * windows
    at = int(rng.integers(1, 4))
    while at + ANSWER_AFTER + ANSWER_WINDOWS + 4 < windows:
        draft.tone(room, at, 1, 1000, 6000)
        cues.append(at)
        if rng.random() < 0.3:
            talk = int(rng.integers(2, 5))
            draft.noise(room, at + 1, talk, 2500)
            at += 1 + talk
        else:
            begin = at + ANSWER_AFTER
            draft.tone(0, begin, ANSWER_WINDOWS, 300, 5000)
            draft.speak(0, begin * WINDOW_US, (begin + ANSWER_WINDOWS) * WINDOW_US, "yes")
            answers.append(begin)
            speaks[begin : begin + ANSWER_WINDOWS] = [True] * ANSWER_WINDOWS
            at = begin + ANSWER_WINDOWS
        at += int(rng.integers(2, 7))
        if rng.random() < 0.3:
            draft.noise(room, at - 2, 1, 2500)
    return draft, Truth(cues=tuple(cues), answers=tuple(answers), speaks=tuple(speaks), text="yes")


def count(name: str, windows: int) -> tuple[Draft, Truth]:
    draft = Draft(name=name, windows=windows)
    rng = draft.rng
    wanted, moves = int(rng.integers(1, 4)), 0
    draft.note(0, str(wanted))
    speaks, pictures, cues = [False] * windows, [], []
    next_move = int(rng.integers(2, 5))
    for window in range(windows):
        if window == next_move:
            moves += 1
            next_move += int(rng.integers(3, 6))
            if moves % 4 == wanted and window + ANSWER_AFTER < windows:
                cues.append(window)
        pictures.append(CLOCKWISE[moves % 4])
    for cue in cues:
        begin = cue + ANSWER_AFTER
        draft.tone(0, begin, 1, 300, 5000)
        draft.speak(0, begin * WINDOW_US, (begin + 1) * WINDOW_US, str(wanted))
        speaks[begin] = True
    draft.pictures = list(pictures)
    answers = tuple(cue + ANSWER_AFTER for cue in cues)
    return draft, Truth(cues=tuple(cues), answers=answers, speaks=tuple(speaks), text=str(wanted))


def talk(
    name: str, windows: int, *, speakers: int | None = None, pictures: bool = True
) -> tuple[Draft, Truth]:
    """Anything may happen: overlaps, saturation, words that spill, unreliable and padded frames."""
    how_many = speakers or 1 + hashlib.sha256(name.encode()).digest()[-1] % 3
    draft = Draft(name=name, windows=windows, speakers=("Ann", "Bo", "Cy")[:how_many])
    rng = draft.rng
    for channel in range(len(draft.speakers) + 1):
        draft.noise(channel, 0, windows, int(rng.choice([20, 3000, 15_000])))
    length_us = windows * WINDOW_US
    for channel, who in enumerate(draft.speakers):
        for _ in range(max(1, windows // 6)):
            start = int(rng.integers(0, length_us - 1000))
            stop = min(length_us, start + int(rng.integers(1000, 1_500_000)))
            letters = rng.choice(list("abcdeéß語😀 "), int(rng.integers(0, 40)))
            draft.speak(channel, start, stop, "".join(letters))
        draft.note(int(rng.integers(windows)), f"for {who} alone", speaker=who)
    draft.note(int(rng.integers(windows)), "for all")
    draft.flags |= rng.choice(
        np.array([0, UNRELIABLE, PADDED], np.uint8), draft.flags.shape, p=[0.9, 0.05, 0.05]
    )
    draft.flags[0, windows // 2] = PADDED
    if pictures:
        draft.pictures = [None if rng.random() < 0.3 else int(rng.integers(4)) for _ in range(windows)]
    return draft, Truth(cues=(), answers=(), speaks=())


MAKERS = {"beep": beep, "count": count, "talk": talk}


def write(
    folder: Path,
    rule: Literal["beep", "count", "talk"],
    counts: Mapping[str, int] | None = None,
    *,
    windows: int = 60,
) -> Corpus:
    """A dataset of so many clips of each split; 64 to train on and 16 to validate unless told."""
    drafts, truths = [], {}
    for split, clips in (counts or {"train": 64, "validation": 16}).items():
        for number in range(clips):
            draft, truth = MAKERS[rule](f"{rule}-{split}-{number}-{windows}", windows)
            draft.split = split
            drafts.append(draft)
            truths[clip_key(draft.hash, 0)] = truth
    return Corpus(path=store(folder, drafts, windows_per_clip=windows), truths=truths)


def store(
    folder: Path,
    drafts: Iterable[Draft],
    *,
    windows_per_clip: int,
    segments: tuple[tuple[int, int], ...] | None = None,
    shard_bytes: int = 256 * 1024 * 1024,
) -> Path:
    """Drafts through cut and write_dataset; the dataset's folder."""
    refs = [_cut(folder / draft.name, draft, windows_per_clip, segments) for draft in drafts]
    settings = Settings(shards=ShardSettings(shard_bytes=shard_bytes))
    write_dataset(folder / "OUT", refs, settings=settings, config=CONFIG)
    return folder / "OUT"


def _cut(
    folder: Path, draft: Draft, windows_per_clip: int, segments: tuple[tuple[int, int], ...] | None
) -> SegmentRef:
    parts = tuple(Segment(first_window=a, windows=n) for a, n in segments or ((0, draft.windows),))
    decode, voices, out = folder / "decode", folder / "voices", folder / "cut"
    for made in (decode, voices, out):
        made.mkdir(parents=True)
    for channel, sound in enumerate(draft.sound):
        sound.astype("<i2").tofile(voices / f"channel-{channel}.i16")
    np.save(voices / "activity.npy", draft.flags)
    width, height = draft.picture_size if draft.pictures is not None else (0, 0)
    if draft.pictures is not None:
        _write_pictures(decode, draft.pictures)
    stop_us = (parts[-1].first_window + parts[-1].windows) * WINDOW_US
    material = Material(
        recording=Recording(
            hash=draft.hash,
            uri=draft.name,
            files=(SourceFile(uri=draft.name, sha256=draft.hash, bytes=1),),
            streams=(),
            duration_us=stop_us,
        ),
        conversation=Conversation(
            recording=draft.hash,
            duration_us=stop_us,
            speakers=draft.speakers,
            turns=tuple(draft.turns),
            words=tuple(draft.words),
            events=tuple(draft.events),
            cues=tuple(draft.cues),
            answers=tuple(draft.answers),
            labels_made=tuple(draft.made),
        ),
        decoded=Decoded(
            duration_us=stop_us,
            sample_rate_hz=RATE,
            segments=parts,
            channels=(None,),
            streams=(),
            picture_width=width,
            picture_height=height,
        ),
        decode_dir=decode,
        voices=Voices(speakers=draft.speakers, sample_rate_hz=RATE, segments=parts),
        voices_dir=voices,
    )
    drops = cut(
        material,
        out,
        split=draft.split,
        settings=ClipSettings(windows_per_clip=draft.clip_windows or windows_per_clip),
        config=CONFIG,
    )
    assert not drops or segments, drops
    key = digest([draft.hash, draft.split, windows_per_clip])
    return SegmentRef(folder=out, recording=draft.hash, split=draft.split, digest=key)


def _write_pictures(decode: Path, shown: list[int | bytes | None]) -> None:
    table, at = np.zeros(len(shown), PICTURE_DTYPE), 0
    with open(decode / "pictures.mjpeg", "wb") as file:
        for window, patch in enumerate(shown):
            if patch is None:
                table[window] = (-1, 0, -1, PICTURE_NONE)
                continue
            jpeg = patch if isinstance(patch, bytes) else square(patch)
            table[window] = (at, len(jpeg), (window + 1) * WINDOW_US - 40_000, 0)
            at += file.write(jpeg)
    np.save(decode / "pictures.npy", table)


@cache
def square(patch: int) -> bytes:
    """JPEG of a bright square in one of the four corners."""
    import av

    pixels = np.full((SIDE, SIDE, 3), 30, np.uint8)
    row, column = divmod(patch, 2)
    top, left = row * (SIDE - SQUARE), column * (SIDE - SQUARE)
    pixels[top : top + SQUARE, left : left + SQUARE] = (240, 220, 60)
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = SIDE, SIDE, "yuvj420p", Fraction(1, 5)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
