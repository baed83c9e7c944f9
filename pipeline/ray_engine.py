"""Jobs over a Ray cluster: the same jobs as the process pool's, on every machine that Ray has.

The folder of the cache and the inputs must be seen by all machines under the same path. Ray schedules,
tries again what died with its process or machine, and ends what a lost driver left.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from typing import Any, Generic, TypeVar

from corpus.pipeline.engine import POLL_SECONDS, Done, WorkerDied
from corpus.pipeline.versions import all_versions
from corpus.schemas.errors import CorpusError, MissingDependencyError, MissingError, StorageError
from corpus.schemas.light import own_this_process
from corpus.schemas.settings import Settings

Job = TypeVar("Job")
Result = TypeVar("Result")
_Versions = dict[str, dict[str, str]]
"""Of a stage and its libraries, by the stage's name."""

RETRIES = 2
"""After a process that died: it may have been killed, or the job may be what kills it."""
LOST_MACHINES = 20
"""So often a job is tried again when its machine is lost, which is never the job's fault."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
"""Until a job that lost its machine is tried again, doubled each time: for up to a minute Ray does not notice
that a machine is gone and sends jobs there."""
IN_FLIGHT_PER_CPU = 2
"""Jobs handed to Ray at a time; the rest wait here: a cluster that grows or shrinks meets no long queue."""
_SILENCE_S = 20.0
"""Until an address that answers nothing is given up."""
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
        StorageError: no cluster answers at the address, it loses its machines again and again, or Ray's
            process on this machine dies.
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
    # Tried again here and not by Ray, which does not tell a lost machine from a process that died.
    task = ray.remote(max_retries=0, num_cpus=1, num_gpus=gpus)(_run)
    wanted = all_versions()
    most = max(1, IN_FLIGHT_PER_CPU * int(resources.get("CPU", 1)))
    tries: Iterator[_Try[Job]] = (_Try(job) for job in chain(first, waiting))
    again: list[_Try[Job]] = []
    running: dict[Any, _Try[Job]] = {}
    try:
        while True:
            due = [one for one in again if one.not_before_s <= time.monotonic()]
            for one in islice(chain(due, tries), most - len(running)):
                if one in due:
                    again.remove(one)
                running[task.remote(function, one.job, wanted, limit_s)] = one
            if not running and not again:
                return
            if running:
                ended, _ = ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
            else:
                ended = []
                time.sleep(POLL_SECONDS)
            on_poll()
            for reference in ended:
                one = running.pop(reference)
                result = _result(ray, reference)
                if one.follows(result):
                    again.append(one)
                else:
                    yield Done(one.job, WorkerDied() if isinstance(result, WorkerDied) else result)
    finally:
        for one in running:
            with suppress(Exception):  # it may be gone already
                ray.cancel(one, force=True)
        if began:
            ray.shutdown()


class _MachineLost(WorkerDied):
    """The machine is gone, and with it the process."""


@dataclass(slots=True, eq=False)
class _Try(Generic[Job]):
    """A job, how often it failed, and when it may be tried again."""

    job: Job
    died: int = 0
    lost: int = 0
    not_before_s: float = 0.0

    def follows(self, result: object) -> bool:
        """Whether another try follows on this result.

        Raises:
            StorageError: its machine was lost too often.
        """
        if isinstance(result, _MachineLost):
            self.lost += 1
            if self.lost > LOST_MACHINES:
                todo = "check it with `ray status`, then run the same command again"
                raise StorageError(
                    f"the cluster lost a job's machine {self.lost} times", where="Ray", todo=todo
                )
            self.not_before_s = time.monotonic() + min(
                _FIRST_PAUSE_S * 2 ** (self.lost - 1), _LONGEST_PAUSE_S
            )
            return True
        self.died += isinstance(result, WorkerDied)
        return isinstance(result, WorkerDied) and self.died <= RETRIES


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
        _refuse_silence(address)
        ray.init(address=address, **options, **({} if address else {"include_dashboard": False}))
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        todo = "check that `ray status` works there and that this machine has the same Ray and Python"
        text = str(error).partition("\n")[0]
        raise StorageError(f"no Ray cluster answers: {text}", where=address or "here", todo=todo) from error
    return True


def _refuse_silence(address: str | None) -> None:
    """Raise OSError if nobody listens at HOST:PORT: Ray itself tries for a quarter of an hour."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SILENCE_S).close()


def _run(function: Callable[[Job], Result], job: Job, wanted: _Versions, limit_s: float) -> Result:
    """On a machine of the cluster: one job, if this machine would make the same bytes."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    own_this_process()
    if differing := _differing(_own_versions(), wanted):
        todo = "install the same corpus, constraints.txt and models on every machine"
        what = f"has other versions than the driver: {differing}"
        raise CorpusError(what, where=socket.gethostname(), todo=todo)
    timer = threading.Timer(limit_s, os._exit, (1,))  # native code that hangs hears nothing else
    timer.daemon = True
    timer.start()
    try:
        return function(job)
    except MissingError as error:  # "this machine" is not the one where it is read
        where = f"{socket.gethostname()}: {error.where}".removesuffix(": ")
        raise type(error)(error.what, where=where, todo=error.todo) from error
    finally:
        timer.cancel()


@cache
def _own_versions() -> _Versions:
    return all_versions()


def _differing(here: _Versions, there: _Versions) -> str:
    """What is not the same: libraries by name, each once, and versions of stages."""
    pairs: dict[str, tuple[str, str]] = {}
    for stage in sorted({*here, *there}):
        own, other = here.get(stage, {}), there.get(stage, {})
        for name in {*own, *other}:
            if own.get(name) != other.get(name):
                shown = f"stage {stage}" if name == "stage_version" else name
                pairs[shown] = own.get(name, "absent"), other.get(name, "absent")
    return ", ".join(f"{name} {own}, not {other}" for name, (own, other) in sorted(pairs.items()))


def _result(ray: Any, one: Any) -> Any:
    """A job's result, or what became of its process; what a job raised is raised.

    Raises:
        StorageError: the Ray process through which this one speaks to the cluster has died, or Ray cannot
        keep a result.
    """
    try:
        return ray.get(one)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        raise (cause if isinstance(cause, Exception) else error) from None
    except (ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError):
        return _MachineLost()  # a larger result stays on the job's machine, and is lost with it
    except ray.exceptions.LocalRayletDiedError as error:  # nothing can be handed to the cluster any more
        todo = "start it again with `ray start --address=…`, then run the same command"
        raise StorageError("Ray's process on this machine has died", where="Ray", todo=todo) from error
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        return WorkerDied()
    except ray.exceptions.RayError as error:  # a full disk where it keeps results, most often
        text = str(error).partition("\n")[0] or type(error).__name__
        todo = "check it with `ray status`, then run the same command again"
        raise StorageError(f"the cluster failed: {text}", where="Ray", todo=todo) from error
