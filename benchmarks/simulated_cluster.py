"""The part of Ray that the driver uses, with a clock that jumps from event to event; no job really runs.

`run_on_ray` gets it in place of the module `ray`.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from corpus.pipeline.record import Recorded, RecordingJob
from corpus.pipeline.state import Running
from corpus.pipeline.survey import SurveyTask
from corpus.pipeline.views import ViewsJob
from corpus.schemas.codec import to_json
from corpus.shards.planning import PlanTask


class Gone(Exception):
    """A task whose process died at every try."""


@dataclass(eq=False)
class Task:
    """A submitted job."""

    job: Any
    function: Callable[[Any], Any]
    tries: int = 0
    lost: bool = False


class Cluster:
    """Workers that take the simulated time of jobs, on a simulated clock."""

    def __init__(
        self,
        workers: int,
        seconds_of: Callable[[RecordingJob], float],
        outcome_of: Callable[[RecordingJob], Recorded],
        preempted: float,
        in_place_of: Mapping[type, Callable[[Any], Any]],
    ) -> None:
        """`in_place_of` replaces the functions of jobs of these types."""
        self.now_s = 0.0
        self.own_cpu_s = 0.0
        """What making things up has cost, to be taken off the driver's."""
        self.most_running = 0
        self._workers = workers
        self._seconds_of, self._outcome_of = seconds_of, outcome_of
        self._preempted = preempted
        self._in_place_of = in_place_of
        self._draw = random.Random(0)
        self._queue: deque[Task] = deque()
        self._ends: list[tuple[float, int, Task]] = []
        self._lines: dict[Task, Path] = {}
        self._number = 0
        died = SimpleNamespace(**dict.fromkeys(("WorkerCrashedError", "NodeDiedError"), Gone))
        died.OutOfMemoryError = died.LocalRayletDiedError = died.ObjectLostError = Gone
        died.RayTaskError = type("RayTaskError", (Exception,), {})
        self.exceptions = died

    # -- the module `ray` ----------------------------------------------------------------------

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self._workers)}

    def remote(self, *, max_retries: int, **_: Any) -> Callable[[Any], Any]:
        self._tries = 1 + max_retries
        return lambda function: SimpleNamespace(remote=self._submit)

    def wait(self, tasks: list[Task], *, num_returns: int, timeout: float) -> tuple[list[Task], list[Task]]:
        """Let the clock jump to the next end of a job, or by the timeout."""
        began = time.process_time()
        until = self.now_s + timeout
        ended: list[Task] = []
        while self._ends and self._ends[0][0] <= until and len(ended) < num_returns:
            self.now_s, _, task = heapq.heappop(self._ends)
            preempted = self._draw.random() < self._preempted
            if preempted and task.tries < self._tries:
                self._start(task)
                continue
            task.lost = preempted
            if line := self._lines.pop(task, None):
                line.unlink(missing_ok=True)
            ended.append(task)
            self._fill()
        if not ended:
            self.now_s = until
        self.own_cpu_s += time.process_time() - began
        return ended, []

    def get(self, task: Task) -> Any:
        if task.lost:
            raise Gone
        began = time.process_time()
        job = task.job
        if isinstance(
            job, (PlanTask, SurveyTask, ViewsJob)
        ):  # for real, in a process of its own as on a cluster
            return _elsewhere(self._in_place_of.get(type(job), task.function), job)
        outcome = self._outcome_of(job) if isinstance(job, RecordingJob) else task.function(job)
        self.own_cpu_s += time.process_time() - began
        return outcome

    # -- the workers ---------------------------------------------------------------------------

    def _submit(self, function: Callable[[Any], Any], job: Any, *_: Any) -> Task:
        began = time.process_time()
        task = Task(job, function)
        self._queue.append(task)
        self._fill()
        self.own_cpu_s += time.process_time() - began
        return task

    def _fill(self) -> None:
        while self._queue and len(self._ends) < self._workers:
            self._start(self._queue.popleft())
        self.most_running = max(self.most_running, len(self._ends))

    def _start(self, task: Task) -> None:
        """Start a task, with a line of progress like those of workers."""
        task.tries += 1
        self._number += 1
        job = task.job
        seconds = self._seconds_of(job) if isinstance(job, RecordingJob) else 1.0
        if task not in self._lines and isinstance(job, RecordingJob):
            self._lines[task] = _line(job, self._number)
        heapq.heappush(self._ends, (self.now_s + seconds, self._number, task))


def _elsewhere(function: Callable[[Any], Any], job: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, job).result()


def _line(job: RecordingJob, number: int) -> Path:
    folder = job.cache_root / "scratch" / job.scratch
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"running-{number:016x}.json"
    path.write_text(to_json(Running(uri=job.identity.item.uri, stage="diarize", share=0.5)))
    return path
