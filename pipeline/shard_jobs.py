"""Writing shards on the build's engine: worker processes, a cluster, or this process if that is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from corpus.pipeline.engine import WorkerDied, run_jobs
from corpus.pipeline.request import Request

if TYPE_CHECKING:
    from corpus.shards.shard_task import ShardDone, ShardTask, Spread

WORTH_WORKERS_BYTES = 256 << 20
"""A smaller amount is copied here before other processes have started."""


def spread_of(request: Request, on_poll: Callable[[], None]) -> Spread:
    """The function that runs shard tasks on the requested engine."""

    def spread(
        stage: Callable[[ShardTask], ShardDone], tasks: Iterable[ShardTask], total_bytes: int
    ) -> Iterator[ShardDone]:
        if request.engine == "ray":
            from corpus.pipeline.ray_engine import run_on_ray

            ends = run_on_ray(stage, tasks, address=request.address, on_poll=on_poll)
        elif request.num_workers > 1 and total_bytes >= WORTH_WORKERS_BYTES:
            ends = run_jobs(stage, tasks, num_workers=request.num_workers, on_poll=on_poll)
        else:
            yield from map(stage, tasks)
            return
        for ended in ends:
            # Whoever dies at every try leaves the shard to this process.
            yield stage(ended.job) if isinstance(ended.result, WorkerDied) else ended.result

    return spread
