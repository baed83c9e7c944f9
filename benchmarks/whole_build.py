"""`corpus build` without models : plain PyAV decoding of the same streams, on one core.

    python benchmarks/whole_build.py [--seconds 300] [--repeats 3] [--sizes 1280x720,1920x1080]

CPU seconds of whole processes and their children, in turns; the baseline process only demuxes both streams
and decodes every packet in one thread.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from long_media import conversation_like

SETTINGS = [
    f"--set={name}" for name in ("diarize.backend=none", "transcribe.backend=none", "sight.enabled=false")
]
PLAIN = """
import sys, av
with av.open(sys.argv[1]) as container:
    chosen = container.streams.video[0], container.streams.audio[0]
    for stream in chosen:
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = av.codec.context.ThreadType.NONE
    for packet in container.demux(*chosen):
        packet.decode()
"""


def cpu_seconds(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(media: Path, repeats: int) -> None:
    floors, builds, ratios = list[float](), list[float](), list[float]()
    for turn in range(repeats + 1):
        floor = cpu_seconds(sys.executable, "-c", PLAIN, str(media))
        with tempfile.TemporaryDirectory(prefix="duplex-corpus-build-") as out:
            build = [sys.executable, "-m", "corpus.cli.main", "build", str(media), "--out", out]
            taken = cpu_seconds(*build, *SETTINGS)
        if turn:
            floors.append(floor)
            builds.append(taken)
            ratios.append(taken / floor)
    print(f"{media.name}: plain {_spread(floors)} s; build {_spread(builds)} s")
    print(f"{media.name}: ratio {_spread(ratios)}", flush=True)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", default="1280x720,1920x1080")
    options = parser.parse_args()
    print(f"{platform.machine()} {os.cpu_count()} cores, Python {platform.python_version()}")
    print("CPU seconds, median [min, max]; must 1.35 at 1280x720, 1.25 at 1920x1080")
    for size in options.sizes.split(","):
        width, height = map(int, size.split("x"))
        compare(conversation_like(width, height, options.seconds), options.repeats)


if __name__ == "__main__":
    main()
