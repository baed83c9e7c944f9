"""Work on a Ray cluster that reads inputs. A machine that does not see them or the cache is named at once.

One that has lost a mount fails every recording within milliseconds, and so would get all that are left.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from corpus.pipeline import survey
from corpus.pipeline.cache import Cache
from corpus.pipeline.engine import Done, WorkerDied
from corpus.pipeline.identify_task import Identified, IdentifyTask
from corpus.pipeline.ray_engine import gpus_a_job, run_on_ray
from corpus.pipeline.record import Recorded, RecordingJob
from corpus.pipeline.request import Request
from corpus.pipeline.survey import Survey, SurveyTask
from corpus.schemas.drops import Drop
from corpus.schemas.errors import StorageError

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")
_LOOKS = 60
_PAUSE_S = 1.0
"""A network file system may take half a minute to show what another machine has made."""


@dataclass(frozen=True, slots=True)
class _Unseen:
    """What a machine does not see."""

    host: str
    path: str


@dataclass(frozen=True, slots=True)
class _Seeing(Generic[_Job, _Result]):
    """Work wherever its files are seen."""

    function: Callable[[_Job], _Result]
    places: Callable[[_Job], Iterable[Path]]

    def __call__(self, job: _Job) -> _Result | _Unseen:
        for path in self.places(job):
            if not _is_seen(path):
                return _Unseen(socket.gethostname(), str(path))
        return self.function(job)


def record_on_ray(
    record: Callable[[RecordingJob], Recorded],
    jobs: Sequence[RecordingJob],
    request: Request,
    cache: Cache,
    on_poll: Callable[[], None],
) -> Iterator[Done[RecordingJob, Recorded]]:
    """Yield every recording as it ends; a file that this machine misses too is that recording's fault.

    Raises:
        StorageError: a machine does not see what this one does.
        Else as `run_on_ray`.
    """
    cache.create()  # its scratch folder shows a machine that it sees the cache
    return _where_seen(_Seeing(record, _files_of), jobs, request, on_poll, gpus_a_job(request.settings))


def identify_on_ray(
    identify: Callable[[IdentifyTask], list[Identified | Drop]],
    tasks: Iterable[IdentifyTask],
    request: Request,
    on_poll: Callable[[], None],
) -> Iterator[Done[IdentifyTask, list[Identified | Drop]]]:
    """Yield every task as it ends; raises as `record_on_ray`."""
    return _where_seen(_Seeing(identify, _inputs_of), tasks, request, on_poll, 0)


def survey_on_ray(task: SurveyTask, request: Request) -> Survey:
    """The inputs as one machine sees them; raises as `record_on_ray`."""
    work = _Seeing(survey.survey, _seen_by_driver)
    [ended] = _where_seen(work, [task], request, lambda: None, 0)
    found = survey.survey(task) if isinstance(ended.result, WorkerDied) else ended.result

    def again(wanted: Set[str]) -> Survey:
        return survey_on_ray(replace(task, wanted=frozenset(wanted)), request)

    return replace(found, again=again)


def _seen_by_driver(task: SurveyTask) -> Iterator[Path]:
    return map(Path, task.seen)


def _files_of(job: RecordingJob) -> Iterator[Path]:
    yield job.cache_root / "scratch" / job.scratch
    yield from (Path(mark.place) for mark in (*job.identity.media, *job.identity.sidecars))


def _inputs_of(task: IdentifyTask) -> Iterator[Path]:
    return task.places


def _where_seen(
    work: _Seeing[_Job, _Result],
    jobs: Iterable[_Job],
    request: Request,
    on_poll: Callable[[], None],
    gpus: float,
) -> Iterator[Done[_Job, _Result]]:
    for ended in run_on_ray(work, jobs, address=request.address, on_poll=on_poll, gpus=gpus):
        result = ended.result
        if isinstance(result, _Unseen):
            if os.path.exists(result.path):
                todo = "mount it under the same path on every machine, then run the same command again"
                raise StorageError(f"does not see {result.path}", where=result.host, todo=todo)
            result = work.function(ended.job)
        yield Done(ended.job, result)


def _is_seen(path: Path) -> bool:
    for look in range(_LOOKS):
        if look:
            time.sleep(_PAUSE_S)
        if path.exists():
            return True
    return False
