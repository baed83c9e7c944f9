"""Running jobs in a pool of processes, in which a worker that dies loses only its own job.

Each slot is an executor of one process, so it is always known which job a dead process was running;
models loaded by a job stay in that process for the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from corpus.pipeline.watchdog import Watchdog
from corpus.schemas.workers import new_workers, no_main_module, stop_workers

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
            slots.append(new_workers(1))
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
                    slots[slot] = new_workers(1)
                for following in islice(waiting, 1):
                    _submit(slots, slot, following, running, function)
                yield Done(job, result)
    finally:
        for executor in slots:
            stop_workers(executor, at_once=bool(running))


def _submit(
    slots: list[ProcessPoolExecutor],
    slot: int,
    job: Job,
    running: dict[Future[Result], tuple[int, Job]],
    function: Callable[[Job], Result],
) -> None:
    with no_main_module():
        running[slots[slot].submit(function, job)] = (slot, job)


def _result(future: Future[Result]) -> Result | WorkerDied:
    try:
        return future.result()
    except BrokenProcessPool:
        return WorkerDied()


def _end_stuck(executor: ProcessPoolExecutor, watchdog: Watchdog) -> None:
    """Kill a stuck worker; its job is retried once, as after a crash."""
    for process in list((executor._processes or {}).values()):
        if process.pid is not None and watchdog.is_stuck(process.pid):
            process.kill()
