"""What the tests of review share: a talked-through film, built, and the server as a user starts it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request as Call
from urllib.request import urlopen

import numpy as np
import pytest

from corpus.pipeline.build import build_dataset
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Outcome, Request
from corpus.schemas.settings import (
    ClipSettings,
    DiarizeSettings,
    Settings,
    ShardSettings,
    SightSettings,
    TranscribeSettings,
)

SETTINGS = Settings(
    diarize=DiarizeSettings(backend="none"),
    transcribe=TranscribeSettings(backend="none"),
    sight=SightSettings(faces=False),
    clips=ClipSettings(windows_per_clip=50, validation_share=0.0, test_share=0.0),
    shards=ShardSettings(shard_bytes=1024 * 1024),
)


Built = Callable[..., Outcome]


@pytest.fixture(scope="session")
def build_talks() -> Built:
    def built(talks: Path, out: Path, **cues: int) -> Outcome:
        settings = replace(SETTINGS, cues=replace(SETTINGS.cues, **cues))
        return build_dataset(Request(inputs=(str(talks),), out=out, settings=settings), Quiet())

    return built


def talk_file(path: Path, name: str, seconds: float, seed: int, speakers: tuple[str, ...]) -> None:
    """Turns and words at random: an RTTM and a CTM, with overlaps, pauses, answers and many an "uh"."""
    rng = random.Random(seed)
    rttm, ctm = [], []
    at, last = 0.3, 0
    while at < seconds - 4:
        who = (last + rng.randint(1, len(speakers) - 1)) % len(speakers) if rng.random() < 0.7 else last
        length = rng.uniform(0.5, 3.0)
        rttm.append(f"SPEAKER {name} 1 {at:.3f} {length:.3f} <NA> <NA> {speakers[who]} <NA> <NA>")
        word = at
        while word < at + length - 0.3:
            text = rng.choice(("uh", "um", "yeah", "right", "house", "tomorrow", "and", "so"))
            ctm.append(f"{name} 1 {word:.3f} 0.250 {text}")
            word += rng.uniform(0.3, 0.6)
        at += max(0.4, length + rng.choice((-0.6, 0.3, 0.5, 0.9)))
        last = who
    path.joinpath(f"{name}.rttm").write_text("\n".join(rttm) + "\n")
    path.joinpath(f"{name}.ctm").write_text("\n".join(ctm) + "\n")


@pytest.fixture(scope="session")
def talks(tmp_path_factory: pytest.TempPathFactory, media: ModuleType) -> Path:
    """A film whose pictures show their numbers, 30 a second, with a chirp every second, and two talks."""
    folder = tmp_path_factory.mktemp("talks")
    chirps = [1_000_000 * n for n in range(1, 39)]
    video = media.Video(width=320, height=200, rate=Fraction(30))
    sound = media.Audio(track=media.sound(48_000, 40.0, chirps_us=chirps))
    media.write_media(folder / "film.mp4", duration_s=40.0, audio=[sound], video=video)
    talk_file(folder, "film", 40.0, 1, ("Ann", "Bob"))
    for number, name in enumerate(("call", "room")):
        noise = 0.1 * np.random.default_rng(number).standard_normal(16_000 * 40)
        quiet = media.Audio(codec="pcm_s16le", rate_hz=16_000, track=noise)
        media.write_media(folder / f"{name}.wav", duration_s=40.0, audio=[quiet])
        talk_file(folder, name, 40.0, 2 + number, ("Eve", "Joe", "Kim"))
    return folder


@pytest.fixture(scope="session")
def built_once(talks: Path, tmp_path_factory: pytest.TempPathFactory, build_talks: Built) -> Path:
    out = tmp_path_factory.mktemp("built") / "OUT"
    build_talks(talks, out)
    return out


@pytest.fixture
def dataset(built_once: Path, tmp_path: Path) -> Path:
    """A dataset of one's own, with its cache."""
    return shutil.copytree(built_once, tmp_path / "OUT")


@dataclass
class Server:
    """A server that runs, and a client for it."""

    out: Path
    options: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[str] = field(init=False)
    url: str = field(init=False)
    log: IO[str] = field(init=False)
    """A file, not a pipe: one that nobody reads fills up, on a busy machine at 4 KiB."""

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        command = [sys.executable, "-m", "corpus.cli.main", "review", "serve", str(self.out)]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), *self.options],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip().partition("?")[0]
        if not self.url:
            raise AssertionError(self.logged())
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.log.close()

    def logged(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def stop(self) -> str:
        """Ends it as Ctrl-C does; what it logged."""
        self.process.terminate()
        self.process.wait(20)
        return self.logged()

    def ask(
        self, path: str, body: object = None, *, who: str = "ann", headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, content and headers of one call; content is JSON where it is sent as such."""
        data = json.dumps(body).encode() if body is not None else None
        told = {"x-annotator": quote(who), **({"content-type": "application/json"} if data else {})}
        call = Call(self.url.rstrip("/") + path, data, {**told, **(headers or {})})
        try:
            with urlopen(call, timeout=30) as answer:
                content, status, found = answer.read(), answer.status, answer.headers
        except HTTPError as error:
            content, status, found = error.read(), error.code, error.headers
        plain = {k.lower(): v for k, v in found.items()}
        is_json = plain.get("content-type", "").startswith("application/json")
        return status, json.loads(content) if is_json else content, plain

    def next(self, number: int = 1, who: str = "ann", **more: object) -> list[dict[str, Any]]:
        status, told, _ = self.ask("/api/next", {"mode": "uncertain", "number": number, **more}, who=who)
        assert status == 200, told
        items: list[dict[str, Any]] = told["items"]
        return items

    def decide(self, *reviews: dict[str, Any], who: str = "ann") -> tuple[int, Any]:
        status, told, _ = self.ask("/api/reviews", {"reviews": list(reviews)}, who=who)
        return status, told


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def started(out: Path, *options: str) -> Server:
        server = Server(out, options)
        running.append(server)
        return server

    yield started
    for server in running:
        if server.process.poll() is None:
            server.kill()
        server.close()


@pytest.fixture(scope="session")
def standing(built_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave nothing behind: starting one takes seconds."""
    server = Server(shutil.copytree(built_once, tmp_path_factory.mktemp("standing") / "OUT"))
    yield server
    server.kill()
