"""Reading every byte of every member, summed, JSON unparsed; interleaved, files in the page cache.

ours : raw sequential read of the tars, summed; webdataset on the same tars, summed : ours; and the
same for looking at members without touching their bytes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from pathlib import Path

import numpy as np
import webdataset as wds
from clips import seconds, segments, show
from corpus.schemas.clip import MEMBERS
from corpus.schemas.settings import Settings
from corpus.shards.read import open_clips
from corpus.shards.write import write_dataset


def raw_sum(paths: list[Path]) -> int:
    total = 0
    buffer = bytearray(1 << 20)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                total += int(np.frombuffer(buffer, np.uint8, count).sum())
    return total


def our_sum(out: Path) -> int:
    total = 0
    for clip in open_clips(out):
        for name in MEMBERS:
            total += int(np.frombuffer(clip.member(name), np.uint8).sum())
    return total


def our_views(out: Path) -> int:
    return sum(len(clip.member(name)) for clip in open_clips(out) for name in MEMBERS)


def their_sum(paths: list[Path]) -> int:
    total = 0
    for sample in wds.WebDataset([str(path) for path in paths], shardshuffle=False):
        for name in MEMBERS:
            total += int(np.frombuffer(sample[name], np.uint8).sum())
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--recordings", type=int, default=8)
    parser.add_argument("--minutes", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "OUT"
        refs = segments(Path(name) / "made", options.recordings, options.minutes)
        manifest = write_dataset(out, refs, settings=Settings(), config="c")
        paths = [out / shard.path for shard in manifest.shards]
        assert our_sum(out) == their_sum(paths)
        raw, ours, theirs, views = [], [], [], []
        for _ in range(options.rounds):
            raw.append(seconds(lambda: raw_sum(paths)))
            ours.append(seconds(lambda: our_sum(out)))
            theirs.append(seconds(lambda: their_sum(paths)))
            views.append(seconds(lambda: our_views(out)))
        size = sum(path.stat().st_size for path in paths)
        speed = round(size / statistics.median(ours) / 1e6)
        pairs = zip(ours, raw, strict=True)
        show("reading clips, summed : raw read, summed", [a / b for a, b in pairs], bytes=size, ours_mb_s=speed)
        show("webdataset, summed : ours, summed", [a / b for a, b in zip(theirs, ours, strict=True)])
        show("webdataset, summed : ours, views only", [a / b for a, b in zip(theirs, views, strict=True)])


if __name__ == "__main__":
    main()
