"""Fixtures for the trainer's tests: one thread, and small documents of known positions."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
import torch

from corpus.trainer.config import ModelConfig, RunConfig
from corpus.trainer.data.sequence import (
    BYTE_0,
    CUE_TARGETS,
    EOW,
    NO_TARGET,
    PAD,
    SIL,
    SPK,
    Batch,
    Positions,
    Stream,
)
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import MODELS, preset


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny() -> ModelConfig:
    return MODELS["tiny"]


class Builder:
    """Writes positions one after the other, with content from a generator: no layout of anyone's."""

    def __init__(self, config: ModelConfig, seed: int) -> None:
        self.config = config
        self.random = np.random.default_rng(seed)
        self.rows: list[tuple[int, int, int, int, int, int, int, float]] = []
        self.audio: list[npt.NDArray[np.uint8]] = []
        self.audio_at: list[int] = []
        self.heard_known: list[bool] = []
        self.patch: list[npt.NDArray[np.uint8]] = []
        self.patch_at: list[int] = []
        self.target: list[npt.NDArray[np.uint8]] = []
        self.target_at: list[int] = []
        self.cue: list[npt.NDArray[np.uint8]] = []
        self.cue_at: list[int] = []

    def frames(self) -> npt.NDArray[np.uint8]:
        shape = (self.config.frames_per_position, self.config.mel_bins)
        return self.random.integers(40, 220, shape, dtype=np.uint8)

    def put(
        self,
        stream: Stream,
        turn: int,
        *,
        token: int = -1,
        place: tuple[int, int, int],
        text: int = NO_TARGET,
    ) -> None:
        time, row, column = place
        weight = 1.0 if text != NO_TARGET else 0.0
        self.rows.append((token, int(stream), time, row, column, turn, text, weight))

    def sound(self, stream: Stream, turn: int, slot: int, text: int = NO_TARGET) -> None:
        self.audio_at.append(len(self.rows))
        self.audio.append(self.frames())
        listened = self.config.user_audio and stream == Stream.HEARD
        self.heard_known.append(listened and (turn + slot) % 5 != 4)
        self.put(stream, turn, place=(8 * turn + 2 * slot, slot, slot), text=text)

    def picture(self, turn: int, row: int, column: int) -> None:
        self.patch_at.append(len(self.rows))
        self.patch.append(self.random.integers(0, 256, (40, 40, 3), dtype=np.uint8))
        self.put(Stream.PICTURE, turn, place=(8 * turn, row, column))

    def predict(self, count: int) -> None:
        """The last `count` positions predict sound."""
        for at in range(len(self.rows) - count, len(self.rows)):
            self.target_at.append(at)
            self.target.append(self.frames())

    def token(self) -> int:
        return BYTE_0 + int(self.random.integers(97, 123))

    def turn(self, turn: int, *, picture: bool, speaks: bool, given: int) -> None:
        """in: two patches?, four sounds, given text; out: <sil>, or <spk> two tokens <eow> four sounds."""
        if picture:
            self.picture(turn, 0, 0)
            self.picture(turn, 0, 1)
        for slot in range(self.config.audio_positions):
            last = slot == self.config.audio_positions - 1 and not given
            self.sound(Stream.HEARD, turn, slot, (SPK if speaks else SIL) if last else NO_TARGET)
        for slot in range(given):
            last = slot == given - 1
            text = (SPK if speaks else SIL) if last else NO_TARGET
            place = (8 * turn + slot, slot, slot)
            self.put(Stream.GIVEN_TEXT, turn, token=self.token(), place=place, text=text)
        if self.config.cues:
            self.cue_at.append(len(self.rows) - 1)
            self.cue.append(self.random.choice(np.array([0, 1, 255], np.uint8), CUE_TARGETS))
        if not speaks:
            self.put(Stream.CONTROL, turn, token=SIL, place=(8 * turn, 0, 0))
            return
        said = [SPK, self.token(), self.token(), EOW]
        for slot, token in enumerate(said):
            text = said[slot + 1] if slot + 1 < len(said) else NO_TARGET
            stream = Stream.OWN_TEXT if token >= BYTE_0 else Stream.CONTROL
            self.put(stream, turn, token=token, place=(8 * turn + slot, slot, slot), text=text)
        self.predict(1)
        for slot in range(self.config.audio_positions):
            self.sound(Stream.OWN_SOUND, turn, slot)
            if slot < self.config.audio_positions - 1:
                self.predict(1)

    def positions(self) -> Positions:
        columns = list(zip(*self.rows, strict=True))
        sound = (self.config.frames_per_position, self.config.mel_bins)
        return Positions(
            token_L=np.array(columns[0], np.int32),
            stream_L=np.array(columns[1], np.int8),
            time_L=np.array(columns[2], np.int32),
            row_L=np.array(columns[3], np.int16),
            column_L=np.array(columns[4], np.int16),
            turn_L=np.array(columns[5], np.int32),
            text_target_L=np.array(columns[6], np.int32),
            text_weight_L=np.array(columns[7], np.float32),
            audio_at_A=np.array(self.audio_at, np.int32),
            audio_ARM=np.array(self.audio, np.uint8).reshape(-1, *sound),
            heard_known_A=np.array(self.heard_known, bool),
            patch_at_P=np.array(self.patch_at, np.int32),
            patch_PHWC=np.array(self.patch, np.uint8).reshape(-1, 40, 40, 3),
            audio_target_at_T=np.array(self.target_at, np.int32),
            audio_target_TRM=np.array(self.target, np.uint8).reshape(-1, *sound),
            audio_weight_T=np.ones(len(self.target), np.float32),
            cue_at_C=np.array(self.cue_at, np.int32),
            cue_CK=np.array(self.cue, np.uint8).reshape(-1, CUE_TARGETS),
        )


def document(config: ModelConfig, turns: int, seed: int = 0, *, pictures: bool = True) -> Positions:
    """A document with every stream in it: given text in turn 1, pictures in even, speech in odd turns."""
    builder = Builder(config, seed)
    builder.put(Stream.SYSTEM, -1, token=4, place=(0, 0, 0))
    for turn in range(turns):
        seen = pictures and turn % 2 == 0 and bool(config.patches)
        builder.turn(turn, picture=seen, speaks=turn % 2 == 1, given=2 * (turn % 3 == 1))
    return builder.positions()


def _padded(parts: list[npt.NDArray[np.generic]], capacity: int, fill: int) -> torch.Tensor:
    joined = np.concatenate(parts)
    assert len(joined) <= capacity
    widths = [(0, capacity - len(joined))] + [(0, 0)] * (joined.ndim - 1)
    return torch.from_numpy(np.pad(joined, widths, constant_values=fill))


def pack(
    rows: Sequence[Sequence[Positions]], length: int, spare: int = 3, capacity: int | None = None
) -> Batch:
    """Rows of documents as one batch; every list has `spare` entries of padding, or `capacity` entries."""
    count = len(rows)
    trash = count * length

    def columns(name: str, fill: int | float) -> torch.Tensor:
        lines = []
        for row in rows:
            line = np.concatenate([getattr(part, name) for part in row])
            assert len(line) <= length, f"{len(line)} positions in a row of {length}"
            lines.append(np.pad(line, (0, length - len(line)), constant_values=fill))
        return torch.from_numpy(np.stack(lines))

    def places(name: str, capacity: int) -> torch.Tensor:
        found = []
        for row, documents in enumerate(rows):
            start = row * length
            for part in documents:
                found.append(getattr(part, name) + start)
                start += len(part)
        return _padded(found, capacity, trash)

    def values(name: str, capacity: int) -> torch.Tensor:
        return _padded([getattr(part, name) for row in rows for part in row], capacity, 0)

    segments = []
    for row in rows:
        line = np.repeat(np.arange(len(row), dtype=np.int32), [len(part) for part in row])
        segments.append(np.pad(line, (0, length - len(line)), constant_values=-1))
    sounds, patches, targets = (
        capacity or sum(len(getattr(part, name)) for row in rows for part in row) + spare
        for name in ("audio_at_A", "patch_at_P", "audio_target_at_T")
    )
    cues = sum(len(part.cue_at_C) for row in rows for part in row)
    text_target_BL = columns("text_target_L", NO_TARGET)
    return Batch(
        token_BL=columns("token_L", PAD),
        stream_BL=columns("stream_L", int(Stream.PAD)),
        time_BL=columns("time_L", 0),
        row_BL=columns("row_L", 0),
        column_BL=columns("column_L", 0),
        turn_BL=columns("turn_L", 0),
        segment_BL=torch.from_numpy(np.stack(segments)),
        text_target_BL=text_target_BL,
        text_weight_BL=columns("text_weight_L", 0.0),
        audio_at_A=places("audio_at_A", sounds),
        audio_ARM=values("audio_ARM", sounds),
        heard_known_A=values("heard_known_A", sounds),
        patch_at_P=places("patch_at_P", patches),
        patch_PHWC=values("patch_PHWC", patches),
        audio_target_at_T=places("audio_target_at_T", targets),
        audio_target_TRM=values("audio_target_TRM", targets),
        audio_weight_T=values("audio_weight_T", targets),
        cue_at_C=places("cue_at_C", cues),
        cue_CK=values("cue_CK", cues),
        text_at_S=(text_target_BL != NO_TARGET).reshape(-1).nonzero()[:, 0],
    )


def cut(whole: Positions, start: int, stop: int) -> Positions:
    """Positions [start, stop) of a document."""
    changed: dict[str, npt.NDArray[np.generic]] = {}
    for field in dataclasses.fields(Positions):
        if field.name.endswith("_L"):
            changed[field.name] = getattr(whole, field.name)[start:stop]
    for at, others in (
        ("audio_at_A", ["audio_ARM", "heard_known_A"]),
        ("patch_at_P", ["patch_PHWC"]),
        ("audio_target_at_T", ["audio_target_TRM", "audio_weight_T"]),
        ("cue_at_C", ["cue_CK"]),
    ):
        place = getattr(whole, at)
        inside = (place >= start) & (place < stop)
        changed[at] = place[inside] - start
        for name in others:
            changed[name] = getattr(whole, name)[inside]
    return dataclasses.replace(whole, **changed)  # type: ignore[arg-type]


@pytest.fixture
def make_document() -> Callable[..., Positions]:
    return document


@pytest.fixture
def batch(
    tiny: ModelConfig, make_document: Callable[..., Positions], pack_rows: Callable[..., Batch]
) -> Batch:
    """Two rows of 144 positions with three documents."""
    return pack_rows(
        [[make_document(tiny, 6, 0), make_document(tiny, 5, 1)], [make_document(tiny, 11, 2)]], 144
    )


@pytest.fixture
def pack_rows() -> Callable[..., Batch]:
    return pack


@pytest.fixture
def cut_positions() -> Callable[..., Positions]:
    return cut


@pytest.fixture(scope="session")
def beeps(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset in which a beep is answered."""
    folder = tmp_path_factory.mktemp("beeps")
    return Path(rules.write(folder, "beep", {"train": 12}, windows=40).path)


@pytest.fixture(scope="session")
def small_run(beeps: Path) -> Callable[..., RunConfig]:
    """A configuration whose steps take some milliseconds, with overrides."""

    def make(*pairs: str) -> RunConfig:
        small = (
            "data.length=72",
            "data.rows=4",
            "data.pictures=false",
            "steps=6",
            "log_every=1",
            "save_every=100",
        )
        few = ("optim.warmup_steps=2", f"data.data={beeps}")
        return with_overrides(preset("tiny"), [*small, *few, *pairs])

    return make


@pytest.fixture
def beside_progress() -> Callable[[list[str]], list[str]]:
    """Of what a run has said, all but its lines of progress."""
    return lambda said: [line for line in said if not re.match(r"step \d+/\d+:", line)]


@pytest.fixture
def start_python() -> Iterator[Callable[..., list[subprocess.CompletedProcess[str]]]]:
    """Runs `python ARGUMENTS` as so many ranks at once and waits for all of them."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, world: int = 1) -> list[subprocess.CompletedProcess[str]]:
        own = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank in range(world):
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
            ranks = {name: str(value) for name, value in names.items()} if world > 1 else {}
            env = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", **ranks}
            command = [sys.executable, *arguments]
            pipe = subprocess.PIPE
            own.append(subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True))
        started.extend(own)
        done = []
        for process in own:
            out, err = process.communicate(timeout=240)
            done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
        return done

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()
