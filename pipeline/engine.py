"""Running jobs in a pool of processes, in which a worker that dies loses only its own job.

Each slot is an executor of one process, so it is always known which job a dead process was running;
models loaded by a job stay in that process for the next one.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from corpus.pipeline.watchdog import Watchdog
from corpus.schemas.light import own_this_process

Job = TypeVar("Job")
Result = TypeVar("Result")

POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The process that ran a job died at every try: a crash in native code, or out of memory."""


@dataclass(frozen=True, slots=True)
class Done(Generic[Job, Result]):
    """A finished job with its result."""

    job: Job
    result: Result | WorkerDied


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    num_workers: int,
    on_poll: Callable[[], None],
) -> Iterator[Done[Job, Result]]:
    """Yield every job as it ends, in any order. An exception in a job ends the iteration.

    A job whose process dies is retried once, alone, after all others are done: another job may have used up
    the memory. `on_poll` is called about twice a second while waiting. Jobs are taken from the iterator when
    there is room for them. Closing the returned iterator stops the workers.
    """
    # Retried alone at the end, where memory is free.
    died: list[Job] = []
    for done in _pass(function, jobs, num_workers=num_workers, on_poll=on_poll):
        if isinstance(done.result, WorkerDied):
            died.append(done.job)
        else:
            yield done
    for job in died:
        yield from _pass(function, [job], num_workers=1, on_poll=on_poll)


def _pass(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    num_workers: int,
    on_poll: Callable[[], None],
) -> Iterator[Done[Job, Result]]:
    slots: list[ProcessPoolExecutor] = []
    waiting = iter(jobs)
    watchdog = Watchdog()
    running: dict[Future[Result], tuple[int, Job]] = {}
    try:
        for job in islice(waiting, num_workers):
            slots.append(_new_slot())
            _submit(slots, len(slots) - 1, job, running, function)
        while running:
            finished, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            on_poll()
            # A stopped or hung worker never finishes by itself.
            for slot, _ in running.values():
                _end_stuck(slots[slot], watchdog)
            for future in finished:
                slot, job = running.pop(future)
                result = _result(future)
                if isinstance(result, WorkerDied):
                    # A broken executor stays broken: replace it.
                    slots[slot].shutdown(wait=False)
                    slots[slot] = _new_slot()
                for following in islice(waiting, 1):
                    _submit(slots, slot, following, running, function)
                yield Done(job, result)
    finally:
        for executor in slots:
            _stop(executor, at_once=bool(running))


def _submit(
    slots: list[ProcessPoolExecutor],
    slot: int,
    job: Job,
    running: dict[Future[Result], tuple[int, Job]],
    function: Callable[[Job], Result],
) -> None:
    with _no_main_module():
        running[slots[slot].submit(function, job)] = (slot, job)


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Hide the main module: spawn would import it again in every worker, which does not need it.

    So a script that builds a dataset needs no `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: main.__dict__[name] for name in ("__spec__", "__file__") if name in main.__dict__
    }
    try:
        # spawn looks for these two to find out what to import.
        main.__dict__.pop("__file__", None)
        main.__spec__ = None
        yield
    finally:
        main.__dict__.update(hidden)


def _result(future: Future[Result]) -> Result | WorkerDied:
    try:
        return future.result()
    except BrokenProcessPool:
        return WorkerDied()


def _new_slot() -> ProcessPoolExecutor:
    # Not fork: a forked worker would inherit the threads' locks of torch, PyAV and DuckDB.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_begin_worker)


def _begin_worker() -> None:
    """Die with the parent, leave Ctrl-C to it, and limit numeric libraries to one thread."""
    import signal

    own_this_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    logging.getLogger().setLevel(logging.WARNING)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Leave no worker behind when a build is killed: the next one may clear its scratch folder."""
    from multiprocessing.connection import wait as wait_for

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _end_stuck(executor: ProcessPoolExecutor, watchdog: Watchdog) -> None:
    """Kill a stuck worker; its job is retried once, as after a crash."""
    for process in list((executor._processes or {}).values()):
        if process.pid is not None and watchdog.is_stuck(process.pid):
            process.kill()


def _stop(executor: ProcessPoolExecutor, *, at_once: bool) -> None:
    """End a slot's process; with `at_once` without waiting for its job."""
    if at_once:
        for process in list((executor._processes or {}).values()):
            process.kill()  # at once, stopped or not; what it was writing has a temporary name
    executor.shutdown(wait=True, cancel_futures=True)
