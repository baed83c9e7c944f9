"""Jobs over a pool of processes, where a worker that dies takes only its own job with it.

Each slot is an executor of one process, so it is always known which job a dead process had in
hand; models loaded by a job stay in that process for the next one.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from corpus.pipeline.watchdog import Watchdog

Job = TypeVar("Job")
Result = TypeVar("Result")

POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The process that ran a job ended without a word, twice: a crash in native code, or out of memory."""


@dataclass(frozen=True, slots=True)
class Done(Generic[Job, Result]):
    """A job that ended, with its result."""

    job: Job
    result: Result | WorkerDied


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    num_workers: int,
    on_poll: Callable[[], None],
) -> Iterator[Done[Job, Result]]:
    """Yield every job as it ends, in no promised order. An exception in a job ends the iteration.

    A job whose process dies is tried once more, when all others are done and with nothing beside it:
    memory may have run out because of a neighbour. `on_poll` is called about twice a second while
    waiting. Closing the iterator stops the workers.
    """
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
    jobs: Sequence[Job],
    *,
    num_workers: int,
    on_poll: Callable[[], None],
) -> Iterator[Done[Job, Result]]:
    slots = [_new_slot() for _ in range(min(num_workers, len(jobs)))]
    waiting = list(reversed(jobs))
    watchdog = Watchdog()
    running: dict[Future[Result], tuple[int, Job]] = {}
    try:
        for slot in range(len(slots)):
            _submit(slots, slot, waiting, running, function)
        while running:
            finished, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            on_poll()
            for slot, _ in running.values():
                _end_stuck(slots[slot], watchdog)
            for future in finished:
                slot, job = running.pop(future)
                result = _result(future)
                if isinstance(result, WorkerDied):
                    slots[slot].shutdown(wait=False)
                    slots[slot] = _new_slot()
                _submit(slots, slot, waiting, running, function)
                yield Done(job, result)
    finally:
        for executor in slots:
            _stop(executor, at_once=bool(running))


def _submit(
    slots: list[ProcessPoolExecutor],
    slot: int,
    waiting: list[Job],
    running: dict[Future[Result], tuple[int, Job]],
    function: Callable[[Job], Result],
) -> None:
    if waiting:
        job = waiting.pop()
        with _no_main_module():
            running[slots[slot].submit(function, job)] = (slot, job)


@contextmanager
def _no_main_module() -> Iterator[None]:
    """A worker needs nothing of the program that started it; multiprocessing would run its imports again.

    So a script that builds a dataset needs no `if __name__ == "__main__"` either.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: main.__dict__[name] for name in ("__spec__", "__file__") if name in main.__dict__
    }
    try:
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
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_begin_worker)


def _begin_worker() -> None:
    """Die with the parent, leave Ctrl-C to it, and keep numeric libraries to one thread."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    logging.getLogger().setLevel(logging.WARNING)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A killed build must leave no worker behind: its scratch folder may be cleared by the next one."""
    from multiprocessing.connection import wait as wait_for

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _end_stuck(executor: ProcessPoolExecutor, watchdog: Watchdog) -> None:
    """A worker that does nothing any more dies as one that crashed: its job is tried once more."""
    for process in list((executor._processes or {}).values()):
        if process.pid is not None and watchdog.is_stuck(process.pid):
            process.kill()


def _stop(executor: ProcessPoolExecutor, *, at_once: bool) -> None:
    """End a slot's process; `at_once` does not wait for the job it has in hand."""
    if at_once:
        for process in list((executor._processes or {}).values()):
            process.kill()  # at once, stopped or not; what it was writing has a temporary name
    executor.shutdown(wait=True, cancel_futures=True)
