"""The cost of a build with almost nothing to do, compared with a cold build: CPU seconds and ratios.

    python benchmarks/build_fixed_costs.py [--recordings 2000] [--repeats 3] [--keep FOLDER]

Recordings are wav files of 2 to 5 s with RTTM and CTM files, built without models. Whole processes are timed,
including workers and the start of the interpreter. The cache : shards ratio is measured on one recording of
two speakers who share a channel, `--minutes` long, without pictures.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

RATE_HZ = 16000
SETTINGS = [
    f"--set={name}" for name in ("diarize.backend=none", "transcribe.backend=none", "sight.enabled=false")
]
LENGTHS_S = (2.0, 5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="keep the inputs and the datasets here")
    options = parser.parse_args()
    print(f"{platform.machine()} {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="duplex-corpus-fixed-") as scratch:
        folder = options.keep or Path(scratch)
        _small_recordings(folder, options.recordings, options.repeats, options.workers)
        _cache_ratio(folder, options.minutes)


def _small_recordings(folder: Path, count: int, repeats: int, workers: int) -> None:
    talks, out = folder / "talks", folder / "out"
    talks.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        write_recording(talks, number)
    inputs = [str(talks), "--out", str(out), *SETTINGS]
    build = ["build", *inputs, "-j", str(workers)]
    cold = cpu_seconds(*build)
    print(f"cold build of {count} recordings: {cold:.1f} CPU s, {1000 * cold / count:.0f} ms each")

    def add(turn: int) -> None:
        write_recording(talks, count + turn)

    def change(turn: int) -> None:
        path = talks / f"talk-{(turn * 997) % count:05d}.rttm"
        path.write_text(path.read_text().replace(" Ann ", f" Anna{turn} "))

    _row("nothing changed", repeats, lambda _: None, build, bar="fixed cost of a no-op build")
    _row("one file added", repeats, add, build, cold, bar="must 3 %")
    _row("one sidecar changed", repeats, change, build, cold, bar="must 3 %")
    noop = statistics.median(cpu_seconds(*build) for _ in range(repeats))
    plans = sorted(cpu_seconds("plan", *inputs) / noop for _ in range(repeats))
    print(f"plan with nothing to do : no-op build {statistics.median(plans):.2f} {_range(plans)}; must 1.5")
    one = folder / "one"
    one.mkdir(exist_ok=True)
    write_recording(one, 0)
    single: list[float] = []
    for _ in range(repeats):
        shutil.rmtree(folder / "one-out", ignore_errors=True)
        single.append(cpu_seconds("build", str(one), "--out", str(folder / "one-out"), *SETTINGS))
    single.sort()
    print(
        f"fixed cost, a build of one recording: {statistics.median(single):.2f} CPU s {_range(single)}; "
        "must 1.5, aim 1.0"
    )


def _row(
    name: str,
    repeats: int,
    prepare: Callable[[int], None],
    build: list[str],
    cold: float | None = None,
    *,
    bar: str,
) -> None:
    spent = []
    for turn in range(repeats):
        prepare(turn)
        spent.append(cpu_seconds(*build))
    spent.sort()
    share = f" = {100 * statistics.median(spent) / cold:.2f} % of cold" if cold else ""
    print(f"{name}: {statistics.median(spent):.2f} CPU s {_range(spent)}{share}; {bar}")


def _cache_ratio(folder: Path, minutes: float) -> None:
    media = folder / "long"
    media.mkdir(exist_ok=True)
    _write_wav(media / "long.wav", minutes * 60, seed=1)
    turns = [(start, start + 4.5, "AB"[(start // 5) % 2]) for start in range(0, int(minutes * 60) - 5, 5)]
    (media / "long.rttm").write_text("".join(_rttm_line("long", *turn) for turn in turns))
    out = folder / "long-out"
    cpu_seconds("build", str(media), "--out", str(out), *SETTINGS)
    cache = _bytes(out / ".cache")
    dataset = sum(_bytes(p) for p in out.glob("*/*.tar"))
    print(f"cache : shards, two speakers: {cache / dataset:.2f} ({cache:,} : {dataset:,} bytes); must 3")


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def write_recording(folder: Path, number: int) -> None:
    """Write a wav with two speakers, its turns and its words; the same number gives the same bytes."""
    rng = np.random.default_rng(number)
    name, seconds = f"talk-{number:05d}", float(rng.uniform(*LENGTHS_S))
    _write_wav(folder / f"{name}.wav", seconds, seed=number)
    half = seconds / 2
    turns = [(0.1, half, "Ann"), (half - 0.2, seconds - 0.1, "Bob")]
    (folder / f"{name}.rttm").write_text("".join(_rttm_line(name, *turn) for turn in turns))
    words = [
        f"{name} 1 {start + 0.1 * k:.2f} 0.08 word{k}\n"
        for start, _, _ in turns
        for k in range(int(5 * half))
    ]
    (folder / f"{name}.ctm").write_text("".join(words))


def _rttm_line(name: str, start: float, stop: float, speaker: str) -> str:
    return f"SPEAKER {name} 1 {start:.3f} {stop - start:.3f} <NA> <NA> {speaker} <NA> <NA>\n"


def _write_wav(path: Path, seconds: float, *, seed: int) -> None:
    """Write sound whose level rises and falls like speech, so that FLAC compresses it like speech."""
    rng = np.random.default_rng(seed)
    count = int(seconds * RATE_HZ)
    white = rng.normal(0, 1, count + 64)
    smooth = np.convolve(white, np.hanning(16) / 8, "same")[:count]
    level = np.repeat(rng.uniform(0, 1, count // 3200 + 1) ** 2, 3200)[:count]
    samples = np.clip(smooth * level * 4000, -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.tobytes())


def cpu_seconds(*arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "corpus.cli.main", *arguments]
    # With compiled modules, as an installed program has.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _range(values: list[float]) -> str:
    return f"[{values[0]:.2f}, {values[-1]:.2f}]"


if __name__ == "__main__":
    main()
