"""Simulates ten thousand hours: the driver's real code on a simulated cluster with simulated stages.

    python ten_thousand_hours.py [--recordings 20000] [--minutes 30] [--workers 400] [--rows] [--driver]

The driver gathers, hashes, plans, splits, hands jobs to the engine for Ray, lays out shards and writes the
index as usual. The work of workers is simulated (made_up_stages.py): its time, and the rows and sizes of its
results. The clock jumps from event to event (simulated_cluster.py), and the cost of the simulation is
subtracted. Layout and index, and catalog and report, tasks of the cluster, are really made, in separate
processes. Each case is a separate process, so that its peak memory is its own. Copying clips into shards is
left out, because it depends on the disk. `--rows` leaves out what is said. `--driver` writes no file for a
recording: its rows are made up when they are laid out, and catalog and report are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from made_up_stages import Stages, make_no_views, make_talks, plan_without_files, write_no_shard
from simulated_cluster import Cluster

from corpus.pipeline.views import ViewsJob
from corpus.shards.planning import PlanTask

CASES = {
    "cold": (0.0, 0.0),
    "nothing changed": (0.0, 0.0),
    "one added": (0.0, 0.0),
    "cold, 1 % faults": (0.01, 0.0),
    "cold, 5 % preempted": (0.0, 0.05),
}
"""Shares of recordings that cannot be used, and of tries that are cut off."""
GOES_ON = ("cold", "nothing changed", "one added")
"""One after another in one folder."""


@dataclass
class Asked:
    """The command line."""

    recordings: int
    minutes: float
    workers: int
    rows: bool
    driver: bool
    folder: Path | None
    case: str | None
    only: int
    profile: bool


def run_case(asked: Asked, name: str, folder: Path) -> dict[str, Any]:
    """Run one build; prints the driver's CPU seconds and peak memory."""
    from corpus.pipeline import build, ledger, ray_engine
    from corpus.pipeline.progress import Quiet
    from corpus.pipeline.request import Request
    from corpus.schemas.light import load_pyarrow_without_pandas
    from corpus.schemas.settings import Settings
    from corpus.shards import shard_task

    load_pyarrow_without_pandas()  # as the command does
    faults, preempted = CASES[name]
    stages = Stages(asked.minutes, faults, with_talk=not asked.rows, with_files=not asked.driver)
    made_up: dict[type, Any] = {}
    if asked.driver:
        made_up = {PlanTask: partial(plan_without_files, asked.minutes), ViewsJob: make_no_views}
    cluster = Cluster(asked.workers, stages.seconds_of, stages.outcome_of, preempted, made_up)
    ray_engine._ray = lambda: cluster
    ledger.monotonic = lambda: cluster.now_s
    shard_task.write_shard = write_no_shard
    os.fsync = lambda handle: None  # waiting for the disk is not the driver's work
    out = folder / ("out" if name in GOES_ON else "other")
    request = Request(inputs=(str(folder / "talks"),), out=out, settings=Settings(), engine="ray")
    began = time.process_time()
    outcome = build.build_dataset(request, Quiet())
    cpu_s = time.process_time() - began - cluster.own_cpu_s
    tasks = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_s": cpu_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "recordings": outcome.recordings,
        "clips": outcome.clips,
        "faults": len(outcome.faults),
        "hours": cluster.now_s / 3600,
        "tasks_cpu_s": tasks.ru_utime + tasks.ru_stime,
        "tasks_mb": tasks.ru_maxrss / 1024,
    }


def _profiled(asked: Asked, name: str, folder: Path) -> dict[str, Any]:
    import cProfile
    import pstats

    profile = cProfile.Profile()
    found = profile.runcall(run_case, asked, name, folder)
    stats = pstats.Stats(profile, stream=sys.stderr)
    stats.sort_stats("cumulative").print_stats(60)
    stats.sort_stats("tottime").print_stats(25)
    return found


def _in_own_process(name: str, folder: Path, arguments: list[str]) -> dict[str, Any]:
    command = [sys.executable, __file__, *arguments, "--case", name, "--folder", str(folder)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=400)
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--driver", action="store_true")
    parser.add_argument("--folder", type=Path, help="where to work; a folder below it is made and removed")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--only", type=int, default=len(CASES), help="the first so many cases")
    parser.add_argument("--profile", action="store_true", help="where the time goes, on stderr")
    asked = Asked(**vars(parser.parse_args()))
    if asked.case and asked.folder:
        run = _profiled if asked.profile else run_case
        print(json.dumps(run(asked, asked.case, asked.folder)))
        return
    folder = Path(tempfile.mkdtemp(prefix="ten-thousand-", dir=asked.folder))
    try:
        make_talks(folder / "talks", 0, asked.recordings)
        for name in list(CASES)[: asked.only]:
            if name == "one added":
                make_talks(folder / "talks", asked.recordings, 1)
            if name not in GOES_ON:
                shutil.rmtree(folder / "out", ignore_errors=True)
                shutil.rmtree(folder / "other", ignore_errors=True)
            found = _in_own_process(name, folder, sys.argv[1:])
            each_ms = 1000 * found["cpu_s"] / asked.recordings
            print(
                f"{name}: {found['cpu_s']:.2f} CPU s, {each_ms:.2f} ms a recording, "
                f"peak {found['peak_mb']:.0f} MB; {found['recordings']} recordings, {found['clips']} clips, "
                f"{found['faults']} faults, {found['hours']:.1f} h on the cluster's clock; "
                f"layout and views, tasks: {found['tasks_cpu_s']:.1f} CPU s, {found['tasks_mb']:.0f} MB",
                flush=True,
            )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
