"""Recordings on a Ray cluster. A machine that does not see the inputs or the cache is named before it works.

One that has lost a mount fails every recording within milliseconds, and so would get all that are left.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.pipeline.cache import Cache
from corpus.pipeline.engine import Done
from corpus.pipeline.ray_engine import gpus_a_job, run_on_ray
from corpus.pipeline.record import Recorded, RecordingJob
from corpus.pipeline.request import Request
from corpus.schemas.errors import StorageError

_Record = Callable[[RecordingJob], Recorded]
_LOOKS = 60
_PAUSE_S = 1.0
"""A network file system may take half a minute to show what another machine has made."""


@dataclass(frozen=True, slots=True)
class _Unseen:
    """What a machine does not see."""

    host: str
    path: str


@dataclass(frozen=True, slots=True)
class _Seeing:
    """A recording's work, wherever its files and its cache are seen."""

    record: _Record

    def __call__(self, job: RecordingJob) -> Recorded | _Unseen:
        marks = (*job.identity.media, *job.identity.sidecars)
        for path in (job.cache_root / "scratch" / job.scratch, *(Path(mark.place) for mark in marks)):
            if not _is_seen(path):
                return _Unseen(socket.gethostname(), str(path))
        return self.record(job)


def record_on_ray(
    record: _Record,
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
    gpus = gpus_a_job(request.settings)
    for ended in run_on_ray(_Seeing(record), jobs, address=request.address, on_poll=on_poll, gpus=gpus):
        result = ended.result
        if isinstance(result, _Unseen):
            if os.path.exists(result.path):
                todo = "mount it under the same path on every machine, then run the same command again"
                raise StorageError(f"does not see {result.path}", where=result.host, todo=todo)
            result = record(ended.job)
        yield Done(ended.job, result)


def _is_seen(path: Path) -> bool:
    for look in range(_LOOKS):
        if look:
            time.sleep(_PAUSE_S)
        if path.exists():
            return True
    return False
