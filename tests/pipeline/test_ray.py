"""Builds on real Ray, two nodes on one machine: the bytes of a local build, also where workers are killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corpus.pipeline import ray_engine
from corpus.pipeline.build import build_dataset
from corpus.pipeline.engine import WorkerDied
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Request
from corpus.pipeline.versions import all_versions
from corpus.schemas.codec import from_json
from corpus.schemas.errors import CorpusError, MissingDependencyError, MissingError, StorageError, UsageError
from corpus.schemas.settings import Settings


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from corpus.pipeline.ray_engine import run_on_ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"needs Ray; pip install 'duplex-corpus\[ray\]'"):
        next(run_on_ray(str, [1], address=None, on_poll=lambda: None))


def test_an_engine_or_address_that_means_nothing_is_refused() -> None:
    from corpus.cli.engine import engine_of

    assert (engine_of("local", None), engine_of("ray", "auto")) == ("local", "ray")
    with pytest.raises(UsageError, match="neither local nor ray"):
        engine_of("slurm", None)
    with pytest.raises(UsageError, match="--engine ray"):
        engine_of("local", "auto")


class FailingRay:
    """A cluster on which each job fails as often and in such a way as `fates` says, then gives its job."""

    def __init__(self, fates: dict[str, list[str]]) -> None:
        self.fates = fates
        self.tries: Counter[str] = Counter()
        errors = (
            "NodeDiedError",
            "ObjectLostError",
            "OutOfDiskError",
            "LocalRayletDiedError",
            "WorkerCrashedError",
            "OutOfMemoryError",
            "RayTaskError",
        )
        base = type("RayError", (Exception,), {})
        self.exceptions = SimpleNamespace(RayError=base, **{name: type(name, (base,), {}) for name in errors})

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1}

    def remote(self, **_: Any) -> Callable[[Any], Any]:
        def start(function: Any, job: str, *_: Any) -> object:
            self.tries[job] += 1
            return SimpleRef(job)

        return lambda _: SimpleNamespace(remote=start)

    def wait(self, running: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return running[:1], running[1:]

    def get(self, reference: Any) -> str:
        if self.fates[reference.job]:
            raise getattr(self.exceptions, self.fates[reference.job].pop(0))
        return str(reference.job)


@dataclass(frozen=True, eq=False)
class SimpleRef:
    job: str


def test_a_lost_machine_is_not_held_against_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies three times is given up; a job whose machines go is tried again for a long time."""
    lost, crash = ["NodeDiedError"], ["WorkerCrashedError"]
    ray = FailingRay(
        {
            "well": [],
            "preempted": lost * 20,
            "done and lost": ["ObjectLostError"],
            "killed twice": ["OutOfMemoryError", *crash],
            "deadly": crash * 9,
            "both": [*crash, *lost * 4, *crash, *lost * 4],
        }
    )
    monkeypatch.setattr(ray_engine, "_ray", lambda: ray)
    monkeypatch.setattr(ray_engine, "_FIRST_PAUSE_S", 0.0)
    done = ray_engine.run_on_ray(str, list(ray.fates), address=None, on_poll=lambda: None)
    results = {one.job: one.result for one in done}
    assert results == {job: WorkerDied() if job == "deadly" else job for job in ray.tries}
    assert dict(ray.tries) == {
        "well": 1,
        "preempted": 21,
        "done and lost": 2,
        "killed twice": 3,
        "deadly": 3,
        "both": 11,
    }
    ray.fates["gone"] = lost * 40
    with pytest.raises(StorageError, match="lost a job's machine 21 times"):
        list(ray_engine.run_on_ray(str, ["gone"], address=None, on_poll=lambda: None))
    ray.fates["full"] = ["OutOfDiskError"]
    with pytest.raises(StorageError, match="Ray: the cluster failed: OutOfDiskError; check it with"):
        list(ray_engine.run_on_ray(str, ["full"], address=None, on_poll=lambda: None))
    ray.fates["alone"] = ["LocalRayletDiedError"]
    with pytest.raises(StorageError, match="on this machine has died"):
        list(ray_engine.run_on_ray(str, ["alone"], address=None, on_poll=lambda: None))


@pytest.fixture(scope="module")
def cluster(two_nodes: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """Two nodes of one processor each; its address."""
    with two_nodes() as address:
        yield address


def run(function: Callable[[Any], Any], jobs: list[Any], address: str, **options: Any) -> dict[Any, Any]:
    import ray.cloudpickle

    from corpus.pipeline.ray_engine import run_on_ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    done = run_on_ray(function, jobs, address=address, on_poll=lambda: None, **options)
    return {one.job: one.result for one in done}


def _ends(function: Callable[[Any], Any], jobs: list[Any], address: str) -> list[tuple[Any, Any]]:
    import ray.cloudpickle

    from corpus.pipeline.ray_engine import run_on_ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return [
        (one.job, one.result) for one in run_on_ray(function, jobs, address=address, on_poll=lambda: None)
    ]


def _square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def _die_at_first(marker: str) -> str:
    path = Path(marker)
    if not path.exists():
        path.write_text("was here")
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def _die(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _hang(number: int) -> int:
    if number == 1:
        time.sleep(600)
    return number


def _full(number: int) -> int:
    raise StorageError("no room", where="here", todo="make room")


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_jobs_come_back_whatever_happens_to_their_processes(cluster: str, tmp_path: Path) -> None:
    squares = run(_square, list(range(9)), cluster)
    assert {number: square for number, (square, _) in squares.items()} == {n: n * n for n in range(9)}
    # What a job loads stays in its process for the next one: a model is loaded once a worker.
    assert len({pid for _, pid in run(_square, list(range(20)), cluster).values()}) <= 4
    marker = str(tmp_path / "marker")
    assert run(_die_at_first, [marker], cluster) == {marker: "done"}
    assert run(_die, [0, 1, 2], cluster) == {0: 0, 1: WorkerDied(), 2: 2}
    assert run(_hang, [0, 1], cluster, limit_s=1.5) == {0: 0, 1: WorkerDied()}
    with pytest.raises(StorageError, match="here: no room; make room"):
        run(_full, [0], cluster)


def _load(log: str) -> int:
    """As a recording opens its recogniser; what loads it says so in a file."""
    from corpus.align import transcribe
    from corpus.pipeline.opened import open_transcriber
    from corpus.schemas.settings import TranscribeSettings

    def loaded(settings: object, device: object) -> object:
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        return object()

    transcribe.open_transcriber = loaded  # type: ignore[assignment]
    open_transcriber(TranscribeSettings())
    time.sleep(0.02)
    return os.getpid()


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_model_is_loaded_once_a_process_and_reused_by_all_recordings(cluster: str, tmp_path: Path) -> None:
    """Two processors have two processes with a model each, whatever the number of recordings."""
    logs = [str(tmp_path / "log")] * 40
    pids = {pid for _, pid in _ends(_load, logs, cluster)}
    loads = (tmp_path / "log").read_text().split()
    assert sorted(loads) == sorted(map(str, pids)) and len(loads) <= 4


def _gpus_seen(number: int) -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_jobs_see_a_gpu_where_settings_ask_for_one(cluster: str) -> None:
    """The cluster only says that it has one; Ray shows it to jobs that ask."""
    from corpus.pipeline.ray_engine import gpus_a_job

    asking = from_json(Settings, '{"diarize": {"device": "cuda"}}')
    assert run(_gpus_seen, [1, 2], cluster, gpus=gpus_a_job(asking)) == {1: "0", 2: "0"}
    assert run(_gpus_seen, [1], cluster, gpus=gpus_a_job(Settings())) == {1: ""}
    with pytest.raises(MissingError, match="no machine of the cluster has a GPU"):
        run(_gpus_seen, [1], cluster, gpus=2)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_machine_with_other_versions_is_refused(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from corpus.pipeline import ray_engine

    driver = {**all_versions(), "decode": {**all_versions()["decode"], "stage_version": "0", "av": "1"}}
    monkeypatch.setattr(ray_engine, "all_versions", lambda: driver)
    named = r"has other versions than the driver: av \d[^ ]*, not 1, stage decode \d+, not 0; install"
    with pytest.raises(CorpusError, match=named):
        run(_square, [1], cluster)


def _lacks(number: int) -> int:
    raise MissingError("the model m is not on this machine", todo="fetch it")


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_machine_without_the_models_is_named(cluster: str) -> None:
    with pytest.raises(MissingError) as caught:
        run(_lacks, [1], cluster)
    assert str(caught.value) == f"{socket.gethostname()}: the model m is not on this machine; fetch it"


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_an_address_that_answers_nothing_is_named() -> None:
    """At once: Ray's own tries take a quarter of an hour."""
    from corpus.pipeline.ray_engine import run_on_ray

    began_s = time.monotonic()
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9", "no-such-host.invalid:6379", "[::1]:9"):
        with pytest.raises(StorageError, match="no Ray cluster answers") as caught:
            next(run_on_ray(str, [1], address=address, on_poll=lambda: None))
        assert caught.value.where == address
    assert time.monotonic() - began_s < 60


def _kill_one(killed: list[int], ended: threading.Event) -> None:
    """The first worker that is seen at a recording."""
    import psutil

    while not ended.wait(0.02):
        for process in psutil.process_iter(["name", "cmdline"]):
            title = " ".join(process.info["cmdline"] or [])
            if "ray::_run" in title and process.uids().real == os.getuid():
                process.kill()
                killed.append(process.pid)
                return


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kill", [False, True])
def test_the_bytes_are_those_of_a_local_build(
    cluster: str,
    talks: Path,
    tmp_path: Path,
    no_models: Settings,
    bytes_of: Callable[[Path], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    kill: bool,
) -> None:
    for module in ("building", "incoming"):  # inputs, layout, catalog and report too
        monkeypatch.setattr(f"corpus.pipeline.{module}.LEAST_FOR_A_TASK", 1)
    local = Request(inputs=(str(talks),), out=tmp_path / "local", settings=no_models)
    assert build_dataset(local, Quiet()).exit_code == 0
    far = replace(local, out=tmp_path / "ray", engine="ray", address=cluster)
    killed: list[int] = []
    ended = threading.Event()
    killer = threading.Thread(target=_kill_one, args=(killed, ended))
    if kill:
        killer.start()
    try:
        outcome = build_dataset(far, Quiet())
    finally:
        ended.set()
        if kill:
            killer.join()
    assert outcome.exit_code == 0 and bool(killed) == kill
    assert bytes_of(far.out) == bytes_of(local.out)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_the_cluster_looks_for_what_changed(
    cluster: str,
    talks: Path,
    tmp_path: Path,
    no_models: Settings,
    bytes_of: Callable[[Path], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("corpus.pipeline.survey.MANY", 1)
    folder = tmp_path / "in"
    shutil.copytree(talks, folder)
    later = (folder / "walk.mkv").rename(tmp_path / "walk.mkv")
    local = Request(inputs=(str(folder),), out=tmp_path / "local", settings=no_models)
    far = replace(local, out=tmp_path / "ray", engine="ray", address=cluster)
    for recordings in (3, 4):
        assert [build_dataset(one, Quiet()).recordings for one in (local, far)] == [recordings] * 2
        assert bytes_of(far.out) == bytes_of(local.out)
        if later.exists():
            later.rename(folder / later.name)
    assert build_dataset(far, Quiet()).unchanged
    assert (far.out / "report.html").read_bytes() == (local.out / "report.html").read_bytes()
    assert build_dataset(far, Quiet()).unchanged
    shutil.rmtree(far.out / "train")
    made = {path: path.stat().st_mtime_ns for path in far.out.glob(".cache/cut/*/*/segment.tar")}
    assert build_dataset(far, Quiet()).exit_code == 0  # from what the cache holds, checked by tasks
    assert bytes_of(far.out) == bytes_of(local.out)
    assert made and {path: path.stat().st_mtime_ns for path in made} == made


class _DieOnce:
    """A shard's task whose process is killed when half of the shard is written, the first time."""

    def __init__(self, stage: Callable[[Any], Any], flag: Path) -> None:
        self._stage, self._flag = stage, flag

    def __call__(self, task: Any) -> Any:
        if not self._flag.exists():
            self._flag.touch()
            path = task.out / ".rewrite" / task.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(task.bytes // 2))
            os.kill(os.getpid(), signal.SIGKILL)
        return self._stage(task)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_worker_killed_in_the_middle_of_a_shard(
    cluster: str,
    talks: Path,
    tmp_path: Path,
    no_models: Settings,
    bytes_of: Callable[[Path], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray.cloudpickle

    from corpus.pipeline import ray_engine
    from corpus.shards.shard_task import stage_shard

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    local = Request(inputs=(str(talks),), out=tmp_path / "local", settings=no_models)
    build_dataset(local, Quiet())
    real = ray_engine.run_on_ray

    def deadly(function: Any, jobs: Any, **options: Any) -> Any:
        return real(
            _DieOnce(function, tmp_path / "flag") if function is stage_shard else function, jobs, **options
        )

    monkeypatch.setattr(ray_engine, "run_on_ray", deadly)
    far = replace(local, out=tmp_path / "ray", engine="ray", address=cluster)
    assert build_dataset(far, Quiet()).exit_code == 0
    assert (tmp_path / "flag").exists() and not (far.out / ".rewrite").exists()
    assert bytes_of(far.out) == bytes_of(local.out)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_driver_killed_while_shards_are_written(
    cluster: str,
    talks: Path,
    tmp_path: Path,
    no_models: Settings,
    no_models_flags: list[str],
    bytes_of: Callable[[Path], dict[str, str]],
    corpus_command: Callable[..., subprocess.Popen[str]],
) -> None:
    build_dataset(Request(inputs=(str(talks),), out=tmp_path / "local", settings=no_models), Quiet())
    out = tmp_path / "ray"
    command = (
        "build",
        str(talks),
        "--out",
        str(out),
        "--engine",
        "ray",
        "--address",
        cluster,
        *no_models_flags,
    )
    for _ in range(5):  # on a busy machine it may be too late
        shutil.rmtree(out, ignore_errors=True)
        driver = corpus_command(*command)
        while driver.poll() is None and not list(out.glob(".rewrite/*/*.tar")):
            time.sleep(0.002)
        driver.kill()
        if driver.wait() == -signal.SIGKILL and not (out / "manifest.json").exists():
            break
    else:
        raise AssertionError("never killed in time")
    assert corpus_command(*command).wait() == 0
    assert bytes_of(out) == bytes_of(tmp_path / "local")
    assert not (out / ".rewrite").exists()


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_results_come_in_the_order_of_the_jobs(cluster: str) -> None:
    import ray.cloudpickle

    from corpus.pipeline.ray_engine import in_order

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    pauses = [0.4, 0.0, 0.2, 0.0, 0.1]
    assert list(in_order(_slept, pauses, address=cluster)) == pauses
    assert list(in_order(_slept, [], address=cluster)) == []


def _slept(pause_s: float) -> float:
    time.sleep(pause_s)
    return pause_s


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_verify_score_and_label_say_and_write_what_they_do_alone(
    cluster: str,
    talks: Path,
    tmp_path: Path,
    no_models: Settings,
    bytes_of: Callable[[Path], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from corpus.align.score import Said, compared
    from corpus.pipeline import ray_engine
    from corpus.pipeline.ray_engine import in_order
    from corpus.pipeline.relabel import relabel_dataset
    from corpus.schemas.conversation import Turn
    from corpus.schemas.settings import CueSettings
    from corpus.shards.verify import verify_dataset

    spread = partial(in_order, address=cluster)
    alone, there = tmp_path / "alone", tmp_path / "there"
    build_dataset(Request(inputs=(str(talks),), out=alone, settings=no_models), Quiet())
    shutil.copytree(alone, there)
    other = CueSettings(shift_alone_us=300_000, shift_silence_us=100_000, thinking_shortest_us=100_000)
    made = relabel_dataset(there, other, Quiet(), spread)
    assert made == relabel_dataset(alone, other, Quiet()) and made.clips
    assert bytes_of(there) == bytes_of(alone)
    shard = next(there.glob("*/*.tar"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    found = verify_dataset(there, spread=spread)
    assert found == verify_dataset(there, num_workers=1) and found.problems
    turns = tuple(
        Turn(id=str(n), speaker="A", start_us=n * 10**6, stop_us=n * 10**6 + 10**5) for n in range(5)
    )
    pairs = [(Said(turns, None, 0), Said(turns[:k], None, 0)) for k in range(4)]
    assert list(spread(compared, pairs)) == list(map(compared, pairs))
    # What dies at every try is done by the driver.
    monkeypatch.setattr(ray_engine, "_result", lambda ray, one: WorkerDied())
    assert list(spread(compared, pairs)) == list(map(compared, pairs))
