"""Reading and summing every byte of every member, without parsing JSON; interleaved, files in the page cache.

ours : raw sequential reading of the tars, summed; webdataset on the same tars, summed : ours. Adding single
bytes takes most of the time in all three, so the same is also measured with eight bytes at a time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import webdataset as wds
from clips import seconds, segments, show

from corpus.schemas.clip import MEMBERS
from corpus.schemas.settings import Settings
from corpus.shards.read import open_clips
from corpus.shards.write import write_dataset

Add = Callable[[bytes | memoryview], int]


def by_bytes(data: bytes | memoryview) -> int:
    return int(np.frombuffer(data, np.uint8).sum())


def by_words(data: bytes | memoryview) -> int:
    """Sum eight bytes at a time: every byte is read, and the addition costs almost nothing."""
    whole = len(data) & ~7
    rest = int.from_bytes(bytes(data[whole:]), "little")
    return int(np.frombuffer(data[:whole], "<u8").sum()) + rest


def raw_sum(paths: list[Path], add: Add) -> int:
    total = 0
    buffer = memoryview(bytearray(1 << 20))
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                total += add(buffer[:count])
    return total


def our_sum(out: Path, add: Add) -> int:
    return sum(add(clip.member(name)) for clip in open_clips(out) for name in MEMBERS)


def their_sum(paths: list[Path], add: Add) -> int:
    samples = wds.WebDataset([str(path) for path in paths], shardshuffle=False)
    return sum(add(sample[name]) for sample in samples for name in MEMBERS)


def compare(name: str, out: Path, paths: list[Path], add: Add, rounds: int) -> None:
    raw, ours, theirs = [], [], []
    for _ in range(rounds):
        raw.append(seconds(lambda: raw_sum(paths, add)))
        ours.append(seconds(lambda: our_sum(out, add)))
        theirs.append(seconds(lambda: their_sum(paths, add)))
    size = sum(path.stat().st_size for path in paths)
    speed = round(size / statistics.median(ours) / 1e6)
    ratios = [a / b for a, b in zip(ours, raw, strict=True)]
    show(f"reading clips : raw sequential read, {name}", ratios, bytes=size, ours_mb_s=speed)
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    show(f"webdataset : reading clips, {name}", ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--recordings", type=int, default=6)
    parser.add_argument("--minutes", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "OUT"
        refs = segments(Path(name) / "made", options.recordings, options.minutes)
        manifest = write_dataset(out, refs, settings=Settings(), config="c")
        paths = [out / shard.path for shard in manifest.shards]
        for add in (by_bytes, by_words):
            assert our_sum(out, add) == their_sum(paths, add)
        compare("every byte summed", out, paths, by_bytes, options.rounds)
        compare("summed in words of eight bytes", out, paths, by_words, options.rounds)


if __name__ == "__main__":
    main()
