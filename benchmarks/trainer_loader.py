"""Positions per CPU second of the trainer's loader, for each way of hearing, with and without pictures.

    python benchmarks/trainer_loader.py [OUT] [--length 4096] [--rows 4] [--batches 10] [--repeats 5]
                                        [--hears energy max mix]

OUT is a dataset; without one, sixteen clips of two speakers and a room are generated (30 s each, half of it
speech; their sound is noise, which takes FLAC longest, and never pauses, so that energies are added in every
frame; pictures of 320 x 200, 9 kB). The picture of every window is used. The settings are measured in turn,
in `--repeats` rounds; each starts from scratch, including its first batch. Prints the median, slowest and
fastest, in CPU seconds of all threads.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from generated import load_rules

from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader
from corpus.trainer.presets import preset

SETTINGS = (
    ("energy", "none"),
    ("max", "none"),
    ("mix", "none"),
    ("energy", "apart"),
    ("energy", "together"),
    ("mix", "apart"),
)
"""What is heard, and pictures: none, or with the speakers of a clip far apart or one after another."""
SIZE = (320, 200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--hears", nargs="+", default=["energy", "max", "mix"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or made_up(Path(folder))
        chosen = [setting for setting in SETTINGS if setting[0] in options.hears]
        rates: dict[tuple[str, str], list[float]] = {setting: [] for setting in chosen}
        for _ in range(options.repeats):
            for setting in chosen:
                rates[setting].append(rate(run_config(data, setting, options), options.batches))
    for (hears, pictures), found in rates.items():
        low, middle, high = min(found), statistics.median(found), max(found)
        print(f"{hears}, pictures {pictures}: {middle:,.0f} positions a CPU second [{low:,.0f}, {high:,.0f}]")


def run_config(data: Path, setting: tuple[str, str], options: argparse.Namespace) -> RunConfig:
    base, (hears, pictures) = preset("base"), setting
    chosen = dataclasses.replace(
        base.data,
        data=str(data),
        hears=hears,
        pictures=pictures != "none",
        together=pictures == "together",
        workers=options.workers,
        length=options.length,
        rows=options.rows,
    )
    model = dataclasses.replace(base.model, picture_every=1)
    return dataclasses.replace(base, data=chosen, model=model, accumulate=1, device="cpu")


def rate(config: RunConfig, batches: int) -> float:
    loader = Loader(config, ahead=0)
    start = time.process_time()
    with closing(iter(loader)) as stream:
        for _ in range(batches):
            next(stream)
        spent = time.process_time() - start
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
        draft.picture_size = SIZE
        draft.pictures = [scene(number * 150 + window) for window in range(150)]
        drafts.append(draft)
    out: Path = rules.store(folder, drafts, windows_per_clip=150)
    return out


def scene(number: int) -> bytes:
    """Soft shapes and some grain, as in a camera's picture."""
    import av

    rng = np.random.default_rng(number)
    width, height = SIZE
    coarse = rng.integers(0, 256, (height // 20, width // 20, 3)).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(coarse, format="rgb24").reformat(width, height)
    pixels = frame.to_ndarray(format="rgb24").astype(np.int16) + rng.integers(-9, 9, (height, width, 1))
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, "yuvj420p", Fraction(1, 5)
    codec.qmin = codec.qmax = 5
    sharp = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="rgb24")
    packets = [*codec.encode(sharp.reformat(format="yuvj420p")), *codec.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


if __name__ == "__main__":
    main()
