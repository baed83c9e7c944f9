"""Builds on real Ray, two nodes on one machine: the bytes of a local build, also where workers are killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline.build import build_dataset
from corpus.pipeline.engine import WorkerDied
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Request
from corpus.schemas.errors import CorpusError, MissingDependencyError, StorageError, UsageError
from corpus.schemas.settings import Settings


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from corpus.pipeline.ray_engine import run_on_ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"needs Ray; pip install 'duplex-corpus\[ray\]'"):
        next(run_on_ray(str, [1], address=None, on_poll=lambda: None))


def test_an_engine_or_address_that_means_nothing_is_refused() -> None:
    from corpus.cli.build import _engine

    assert (_engine("local", None), _engine("ray", "auto")) == ("local", "ray")
    with pytest.raises(UsageError, match="neither local nor ray"):
        _engine("slurm", None)
    with pytest.raises(UsageError, match="--engine ray"):
        _engine("local", "auto")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Two nodes of one processor each; its address."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), before or ""])
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
    made.add_node(num_cpus=1, object_store_memory=100_000_000)
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
    marker = str(tmp_path / "marker")
    assert run(_die_at_first, [marker], cluster) == {marker: "done"}
    assert run(_die, [0, 1, 2], cluster) == {0: 0, 1: WorkerDied(), 2: 2}
    assert run(_hang, [0, 1], cluster, limit_s=1.5) == {0: 0, 1: WorkerDied()}
    with pytest.raises(StorageError, match="here: no room; make room"):
        run(_full, [0], cluster)


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
    kill: bool,
) -> None:
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
    assert build_dataset(far, Quiet()).unchanged
