"""Builds on real Ray, two nodes on one machine: the bytes of a local build, also where workers are killed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline.build import build_dataset
from corpus.pipeline.engine import WorkerDied
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Request
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


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Two nodes of one processor each; its address."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), before or ""])
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
    made.add_node(num_cpus=1, num_gpus=1, object_store_memory=100_000_000)
    yield made.address
    ray.shutdown()
    made.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def run(function: Callable[[Any], Any], jobs: list[Any], address: str, **options: Any) -> dict[Any, Any]:
    import ray.cloudpickle

    from corpus.pipeline.ray_engine import run_on_ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    done = run_on_ray(function, jobs, address=address, on_poll=lambda: None, **options)
    return {one.job: one.result for one in done}


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

    monkeypatch.setattr(ray_engine, "all_versions", lambda: {"decode": {"stage_version": "0"}})
    with pytest.raises(CorpusError, match="other versions than the driver"):
        run(_square, [1], cluster)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_an_address_that_answers_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from corpus.pipeline.ray_engine import run_on_ray

    monkeypatch.setenv("RAY_gcs_rpc_server_connect_timeout_s", "2")
    monkeypatch.setattr("ray._private.ray_constants.NUM_REDIS_GET_RETRIES", 1, raising=False)
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9.*no Ray cluster answers"):
        next(run_on_ray(str, [1], address="127.0.0.1:9", on_poll=lambda: None))


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
    monkeypatch.setattr("corpus.pipeline.build.LEAST_FOR_A_TASK", 1)  # catalog and report too
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
    assert (far.out / "report.html").read_bytes() == (local.out / "report.html").read_bytes()
    assert build_dataset(far, Quiet()).unchanged
    shutil.rmtree(far.out / "train")
    made = {path: path.stat().st_mtime_ns for path in far.out.glob(".cache/cut/*/*/segment.tar")}
    assert build_dataset(far, Quiet()).exit_code == 0  # from what the cache holds, checked by tasks
    assert bytes_of(far.out) == bytes_of(local.out)
    assert made and {path: path.stat().st_mtime_ns for path in made} == made


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
    with pytest.raises(UsageError, match="verified on one machine"):
        verify_dataset("s3://bucket/out", spread=spread)
    turns = tuple(
        Turn(id=str(n), speaker="A", start_us=n * 10**6, stop_us=n * 10**6 + 10**5) for n in range(5)
    )
    pairs = [(Said(turns, None, 0), Said(turns[:k], None, 0)) for k in range(4)]
    assert list(spread(compared, pairs)) == list(map(compared, pairs))
    # What dies at every try is done by the driver.
    monkeypatch.setattr(ray_engine, "_result", lambda ray, one: WorkerDied())
    assert list(spread(compared, pairs)) == list(map(compared, pairs))


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_dataset_at_a_url_is_built_on_a_cluster(
    cluster: str,
    talks: Path,
    tmp_path: Path,
    no_models: Settings,
    bytes_of: Callable[[Path], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import fsspec

    from corpus.pipeline.far_build import WORK_VARIABLE, build_at

    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    local = Request(inputs=(str(talks),), out=tmp_path / "local", settings=no_models)
    build_dataset(local, Quiet())
    far = replace(local, engine="ray", address=cluster)
    assert build_at("memory://ray/OUT", far, Quiet()).exit_code == 0
    fsspec.filesystem("memory").get("/ray/OUT/", str(tmp_path / "there"), recursive=True)
    assert bytes_of(tmp_path / "there") == bytes_of(local.out)
