"""What the tests of pipeline share: small recordings and builds of them; datasets made by hand."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from corpus.pipeline import ray_engine, ray_recordings
from corpus.pipeline.build import build_dataset
from corpus.pipeline.engine import Done, WorkerDied
from corpus.pipeline.identify_task import IdentifyTask
from corpus.pipeline.request import Outcome, Request
from corpus.schemas.settings import (
    ClipSettings,
    DiarizeSettings,
    Settings,
    ShardSettings,
    SightSettings,
    TranscribeSettings,
)

NO_MODELS = Settings(
    diarize=DiarizeSettings(backend="none"),
    transcribe=TranscribeSettings(backend="none"),
    sight=SightSettings(enabled=False),
    clips=ClipSettings(windows_per_clip=10, validation_share=0.2, test_share=0.2),
    shards=ShardSettings(shard_bytes=1024 * 1024),
)
NO_MODELS_FLAGS = [
    "--set=diarize.backend=none",
    "--set=transcribe.backend=none",
    "--set=sight.enabled=false",
    "--set=clips.windows_per_clip=10",
    "--set=clips.validation_share=0.2",
    "--set=clips.test_share=0.2",
    "--set=shards.shard_bytes=1048576",
]


@dataclass
class Quiet:
    """A build's talk, kept for the test to read."""

    phases: list[tuple[str, int]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def phase(self, name: str, total: int) -> None:
        self.phases.append((name, total))

    def at(self, done: float, detail: str) -> None:
        pass

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="session")
def talks(tmp_path_factory: pytest.TempPathFactory, media: ModuleType) -> Path:
    """Four recordings: video with turns and words beside it, another video, sound alone, two speakers."""
    folder = tmp_path_factory.mktemp("talks")
    video = media.Video(width=320, height=200, rate=Fraction(25))
    media.write_media(folder / "meeting.mp4", duration_s=6.3, audio=[media.Audio()], video=video)
    (folder / "meeting.rttm").write_text(
        "SPEAKER meeting 1 0.500 2.000 <NA> <NA> Ann <NA> <NA>\n"
        "SPEAKER meeting 1 2.200 3.000 <NA> <NA> Bob <NA> <NA>\n"
    )
    (folder / "meeting.stm").write_text(
        "meeting 1 Ann 0.5 2.5 <o> hello there bob\nmeeting 1 Bob 2.2 5.2 <o> hello ann how are you\n"
    )
    media.write_media(folder / "walk.mkv", duration_s=5.0, audio=[media.Audio(codec="libopus")], video=video)
    media.write_media(
        folder / "sound only.wav", duration_s=4.1, audio=[media.Audio(codec="pcm_s16le", rate_hz=16000)]
    )
    media.write_media(
        folder / "deep.flac",
        duration_s=3.0,
        audio=[media.Audio(codec="flac", rate_hz=44100, channels=2)],
    )
    return folder


@pytest.fixture
def run_build(tmp_path: Path) -> Callable[..., Outcome]:
    """run_build(*inputs, out=..., settings=NO_MODELS, num_workers=1, ...) -> Outcome"""

    def _run(*inputs: Path | str, out: Path, settings: Settings = NO_MODELS, **options: object) -> Outcome:
        request = Request(inputs=tuple(map(str, inputs)), out=out, settings=settings, **options)  # type: ignore[arg-type]
        return build_dataset(request, Quiet())

    return _run


def promised_bytes(out: Path) -> dict[str, str]:
    """sha256 of every file whose bytes a build promises: tars, clips.parquet, manifest.json, README.md."""
    names = [*out.glob("*/*.tar"), *(out / n for n in ("clips.parquet", "manifest.json", "README.md"))]
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(names)}


@contextmanager
def _two_nodes() -> Iterator[str]:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), before or ""])
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
    nodes.add_node(num_cpus=1, num_gpus=1, object_store_memory=100_000_000)
    yield nodes.address
    ray.shutdown()
    nodes.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture(scope="session")
def two_nodes() -> Callable[[], AbstractContextManager[str]]:
    """Starts Ray with two nodes of one processor each; its address."""
    return _two_nodes


@pytest.fixture(scope="session")
def bytes_of() -> Callable[[Path], dict[str, str]]:
    return promised_bytes


@pytest.fixture(scope="session")
def corpus_command(repository: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command line as a user does; returns the running process."""

    def _start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "corpus.cli.main", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    return _start


@pytest.fixture(scope="session")
def no_models_flags() -> list[str]:
    return list(NO_MODELS_FLAGS)


@pytest.fixture(scope="session")
def no_models() -> Settings:
    return NO_MODELS


class Cluster:
    """Workers in this process: jobs go through pickles, the last first; every third task of inputs dies."""

    def __init__(self) -> None:
        self.inputs = 0
        self.done: list[str] = []
        """Types of the jobs."""
        self.is_working = False
        self.is_pickling = True

    def run(
        self, function: Callable[[Any], Any], jobs: Iterable[Any], **_: object
    ) -> Iterator[Done[Any, Any]]:
        for job in reversed(list(jobs)):
            self.done.append(type(job).__name__)
            if isinstance(job, IdentifyTask):
                self.inputs += len(job.items)
                if not self.inputs % 3:
                    yield Done(job, WorkerDied())
                    continue
            sent, there = pickle.loads(pickle.dumps((function, job))) if self.is_pickling else (function, job)
            self.is_working = True
            result = pickle.loads(pickle.dumps(sent(there)))
            self.is_working = False
            yield Done(job, result)


@pytest.fixture
def fake_cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    for module in (ray_engine, ray_recordings):
        monkeypatch.setattr(module, "run_on_ray", cluster.run)
    monkeypatch.setattr(ray_engine, "connected", lambda address: nullcontext())
    for module in ("building", "incoming"):
        monkeypatch.setattr(f"corpus.pipeline.{module}.LEAST_FOR_A_TASK", 1)
    monkeypatch.setattr("corpus.pipeline.identify_task._ITEMS", 1)
    return cluster
