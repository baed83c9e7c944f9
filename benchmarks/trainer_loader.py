"""Positions a second that the trainer's loader makes, for both ways of hearing.

    python benchmarks/trainer_loader.py [OUT] [--length 4096] [--rows 8] [--batches 10] [--repeats 5]

OUT is a dataset; without one, sixteen clips of two speakers and a room are made up (30 s each, half of
it speech; their sound is noise, which takes FLAC longest). Every repeat begins anew, the first batch of
each included; the median and the slowest are printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import torch
from generated import load_rules

from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader
from corpus.trainer.presets import preset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or made_up(Path(folder))
        for hears in ("max", "mix"):
            for workers in (1, 2):
                config = run_config(data, hears, workers, options)
                rates = sorted(rate(config, options.batches) for _ in range(options.repeats))
                print(
                    f"{hears}, {workers} worker(s): {statistics.median(rates):,.0f} positions/s, "
                    f"slowest {rates[0]:,.0f}"
                )


def run_config(data: Path, hears: str, workers: int, options: argparse.Namespace) -> RunConfig:
    base = preset("base")
    chosen = dataclasses.replace(
        base.data, data=str(data), hears=hears, workers=workers, length=options.length, rows=options.rows
    )
    return dataclasses.replace(base, data=chosen, accumulate=1)


def rate(config: RunConfig, batches: int) -> float:
    loader = Loader(config)
    start = time.perf_counter()
    stream = iter(loader)
    for _ in range(batches):
        next(stream)
    spent = time.perf_counter() - start
    stream.close()
    return batches * loader.positions_per_batch / spent


def made_up(folder: Path) -> Path:
    rules = load_rules()
    drafts = []
    for number in range(16):
        draft = rules.Draft(name=f"loader-{number}", windows=150, speakers=("Ann", "Bo"))
        for channel in range(3):
            draft.noise(channel, 0, 150, 20)
        for turn, window in enumerate(range(2, 140, 9)):
            draft.noise(turn % 2, window, 7, 3000)
            start = window * 200_000
            draft.speak(turn % 2, start, start + 1_400_000, "there is more to say now")
        drafts.append(draft)
    out: Path = rules.store(folder, drafts, windows_per_clip=150)
    return out


if __name__ == "__main__":
    main()
