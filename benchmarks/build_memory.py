"""Peak memory of a whole `corpus build` without models: a 2 h file : a 10 min file, 320x240.

    python benchmarks/build_memory.py [--long 7200] [--short 600] [--repeats 2]

This is the largest single process of a build, which decodes, splits voices, cuts and makes mel.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from long_media import conversation_like

MEASURE = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "corpus.cli.main", "build", *sys.argv[1:]], check=True,
               capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
SETTINGS = [
    f"--set={name}" for name in ("diarize.backend=none", "transcribe.backend=none", "sight.enabled=false")
]


def peak_mb(media: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="duplex-corpus-build-memory-") as out:
        command = [sys.executable, "-c", MEASURE, str(media), "--out", out, *SETTINGS]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=int, default=7200)
    parser.add_argument("--short", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    print(f"{platform.machine()} {os.cpu_count()} cores, Python {platform.python_version()}")
    short, long = (conversation_like(320, 240, s) for s in (options.short, options.long))
    peaks = [(peak_mb(short), peak_mb(long)) for _ in range(options.repeats)]
    ratios = [after / before for before, after in peaks]
    print(
        f"10 min: {_spread([p[0] for p in peaks])} MB; 2 h: {_spread([p[1] for p in peaks])} MB; must < 600"
    )
    print(f"ratio {_spread(ratios)}; must 1.10, aim 1.03")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


if __name__ == "__main__":
    main()
