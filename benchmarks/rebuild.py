"""A build with nothing changed : a cold build of at least 60 s, without models.

    python benchmarks/rebuild.py [--minutes 20] [--repeats 5]

Wall time of whole processes, including the start of the interpreter, as a user experiences it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from long_media import conversation_like

SETTINGS = [
    f"--set={name}" for name in ("diarize.backend=none", "transcribe.backend=none", "sight.enabled=false")
]


def seconds(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    media = conversation_like(1280, 720, options.minutes * 60)
    with tempfile.TemporaryDirectory(prefix="duplex-corpus-rebuild-") as folder:
        shutil.copy(media, folder)
        build = [sys.executable, "-m", "corpus.cli.main", "build", str(Path(folder) / media.name)]
        command = [*build, "--out", str(Path(folder) / "out"), *SETTINGS]
        cold = seconds(*command)
        again = sorted(seconds(*command) for _ in range(options.repeats))
    print(f"{platform.machine()} {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"cold build of {options.minutes} min 1280x720: {cold:.1f} s")
    print(f"rebuild: {statistics.median(again):.3f} s [{again[0]:.3f}, {again[-1]:.3f}]")
    shares = [100 * s / cold for s in again]
    print(f"ratio: {statistics.median(shares):.2f} % [{shares[0]:.2f}, {shares[-1]:.2f}]; must 2, aim 0.5")
    if cold < 60:
        print("the cold build is under 60 s, so the ratio means little: add minutes")


if __name__ == "__main__":
    main()
