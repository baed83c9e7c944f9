"""Four recordings with models: wall time with one worker : with two, without the loading of models.

    python benchmarks/two_workers.py WAV WAV WAV WAV [--rounds 3] [--seconds 12]

The beginnings of four files are built, then these and four more parts a little further on; the difference is
the cost of four once models are loaded. Caches are empty each time; the builds of a round take turns.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

from clips import show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12)
    asked = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory(prefix="corpus-two-workers-") as scratch:
        folder = Path(scratch)
        (folder / "four").mkdir()
        (folder / "eight").mkdir()
        for path in asked.clips:
            write_part(path, folder / "four" / path.name, 0, asked.seconds)
            shutil.copy(folder / "four" / path.name, folder / "eight")
            write_part(path, folder / "eight" / f"later-{path.name}", asked.seconds, asked.seconds)
        for _ in range(asked.rounds):
            spent = {
                workers: wall_s(folder, "eight", workers) - wall_s(folder, "four", workers)
                for workers in (1, 2)
            }
            ratios.append(spent[1] / spent[2])
            print(f"one worker {spent[1]:.1f} s, two {spent[2]:.1f} s", flush=True)
    show("wall, one worker : two, without loading", ratios, clips=len(asked.clips), bar=1.7)


def write_part(path: Path, target: Path, start_s: float, seconds: float) -> None:
    with wave.open(str(path), "rb") as file, wave.open(str(target), "wb") as part:
        part.setparams(file.getparams())
        file.setpos(int(start_s * file.getframerate()))
        part.writeframes(file.readframes(int(seconds * file.getframerate())))


def wall_s(folder: Path, talks: str, workers: int) -> float:
    out, cache = folder / "out", folder / "cache"
    command = [sys.executable, "-m", "corpus.cli.main", "build", str(folder / talks), "--out", str(out)]
    began = time.monotonic()
    subprocess.run(
        [*command, "-j", str(workers), "--cache", str(cache)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    spent = time.monotonic() - began
    shutil.rmtree(out)
    shutil.rmtree(cache)
    return spent


if __name__ == "__main__":
    main()
