"""Jobs over a Ray cluster: the same jobs as the process pool's, on every machine that Ray has.

The folder of the cache and the inputs must be seen by all machines under the same path. Ray schedules,
tries again what died with its process or machine, and ends what a lost driver left.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from typing import Any, Generic, TypeVar

from corpus.pipeline.engine import POLL_SECONDS, Done, WorkerDied
from corpus.pipeline.versions import all_versions
from corpus.schemas.codec import digest
from corpus.schemas.errors import CorpusError, MissingDependencyError, MissingError, StorageError
from corpus.schemas.light import own_this_process
from corpus.schemas.settings import Settings

Job = TypeVar("Job")
Result = TypeVar("Result")

RETRIES = 2
"""After a killed process or a lost machine: neither is the recording's fault."""
IN_FLIGHT_PER_CPU = 2
"""Jobs handed to Ray at a time; the rest wait here: a cluster that grows or shrinks meets no long queue."""
GPU_SHARE = 0.25
"""Of a GPU for a job; not measured yet."""
TASK_LIMIT_S = 24 * 3600.0
"""A job that takes longer hangs: its process is ended, and it counts as one that died."""


def run_on_ray(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    address: str | None,
    on_poll: Callable[[], None],
    limit_s: float = TASK_LIMIT_S,
    gpus: float = 0,
) -> Iterator[Done[Job, Result]]:
    """Yield every job as it ends, in no promised order; an exception in a job ends the iteration.

    Without an address Ray starts on this machine alone. Closing the iterator stops what runs. A job gets a
    processor and this share of a GPU; Ray hides all GPUs from one that asks for none.

    Raises:
        MissingDependencyError: Ray is not installed.
        StorageError: no cluster answers at the address.
        MissingError: no machine has a GPU that is asked for.
        CorpusError: a machine has other versions than this one.
    """
    waiting = iter(jobs)
    first = list(islice(waiting, 1))
    if not first:
        return
    ray = _ray()
    began = _connect(ray, address)
    resources = ray.cluster_resources()
    if gpus > resources.get("GPU", 0):
        if began:
            ray.shutdown()
        todo = 'use machines with GPUs, or device = "cpu"'
        raise MissingError('device = "cuda", but no machine of the cluster has a GPU', todo=todo)
    task = ray.remote(max_retries=RETRIES, num_cpus=1, num_gpus=gpus)(_run)
    wanted = digest(all_versions())
    most = max(1, IN_FLIGHT_PER_CPU * int(resources.get("CPU", 1)))
    waiting = chain(first, waiting)
    running: dict[Any, Job] = {}
    try:
        while True:
            for job in islice(waiting, most - len(running)):
                running[task.remote(function, job, wanted, limit_s)] = job
            if not running:
                return
            ended, _ = ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
            on_poll()
            for one in ended:
                job = running.pop(one)
                yield Done(job, _result(ray, one))
    finally:
        for one in running:
            with suppress(Exception):  # it may be gone already
                ray.cancel(one, force=True)
        if began:
            ray.shutdown()


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Within it everything runs over one connection: without an address Ray starts once and not at each use.

    Raises as `run_on_ray`.
    """
    ray = _ray()
    began = _connect(ray, address)
    try:
        yield
    finally:
        if began:
            ray.shutdown()


def gpus_a_job(settings: Settings) -> float:
    """The share of a GPU that a job asks for: only where settings say "cuda"; "auto" is the CPU."""
    devices = (settings.diarize.device, settings.transcribe.device, settings.separate.device)
    return GPU_SHARE if "cuda" in devices else 0


def in_order(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, address: str | None
) -> Iterator[Result]:
    """A function's results over a Ray cluster, in the order of the jobs; raises as `run_on_ray`.

    What dies with its process at every try is done here.
    """
    early: dict[int, Result] = {}
    number = 0
    for done in run_on_ray(_Numbered(function), list(enumerate(jobs)), address=address, on_poll=_nothing):
        place, job = done.job
        early[place] = function(job) if isinstance(done.result, WorkerDied) else done.result
        while number in early:
            yield early.pop(number)
            number += 1


@dataclass(frozen=True, slots=True)
class _Numbered(Generic[Job, Result]):
    """A function of a job, for jobs with their numbers."""

    function: Callable[[Job], Result]

    def __call__(self, numbered: tuple[int, Job]) -> Result:
        return self.function(numbered[1])


def _nothing() -> None:
    """Nobody asks for progress."""


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        todo = "pip install 'duplex-corpus[ray]' on every machine"
        raise MissingDependencyError("--engine ray needs Ray", todo=todo) from error
    return ray


def _connect(ray: Any, address: str | None) -> bool:
    """Whether this call connected; who is connected already stays so."""
    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    try:
        ray.init(address=address, **options, **({} if address else {"include_dashboard": False}))
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        todo = "check that `ray status` works there and that this machine has the same Ray and Python"
        text = str(error).partition("\n")[0]
        raise StorageError(f"no Ray cluster answers: {text}", where=address or "here", todo=todo) from error
    return True


def _run(function: Callable[[Job], Result], job: Job, wanted: str, limit_s: float) -> Result:
    """On a machine of the cluster: one job, if this machine would make the same bytes."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    own_this_process()
    if _own_versions() != wanted:
        import socket

        todo = "install the same corpus, constraints.txt and models on every machine"
        raise CorpusError("has other versions than the driver", where=socket.gethostname(), todo=todo)
    timer = threading.Timer(limit_s, os._exit, (1,))  # native code that hangs hears nothing else
    timer.daemon = True
    timer.start()
    try:
        return function(job)
    finally:
        timer.cancel()


@cache
def _own_versions() -> str:
    return digest(all_versions())


def _result(ray: Any, one: Any) -> Any:
    """A job's result. What died with its process, every time, is told from what a job raised."""
    try:
        return ray.get(one)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        raise (cause if isinstance(cause, Exception) else error) from None
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.LocalRayletDiedError,
    ):
        return WorkerDied()
