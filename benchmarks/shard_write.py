"""Writing shards : writing and hashing the same bytes from memory, both synced to disk; interleaved."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from clips import seconds, segments, show

from corpus.schemas.settings import Settings
from corpus.shards.write import write_dataset


def raw_write(path: Path, parts: list[bytes]) -> None:
    """Write one file for each shard, in pieces of 1 MiB, hashed and synced."""
    for number, data in enumerate(parts):
        hasher = hashlib.sha256()
        view = memoryview(data)
        with open(path / f"{number}.tar", "wb", buffering=0) as file:
            for start in range(0, len(view), 1 << 20):
                piece = view[start : start + (1 << 20)]
                hasher.update(piece)
                file.write(piece)
            os.fsync(file.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--recordings", type=int, default=8)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (a disk with room)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        refs = segments(folder / "made", options.recordings, options.minutes)
        ours, raw = folder / "OUT", folder / "raw"
        settings = Settings()
        manifest = write_dataset(ours, refs, settings=settings, config="c")
        parts = [(ours / shard.path).read_bytes() for shard in manifest.shards]
        ratios = []
        for _ in range(options.rounds):
            shutil.rmtree(ours)
            shutil.rmtree(raw, ignore_errors=True)
            raw.mkdir()
            theirs = seconds(lambda: raw_write(raw, parts))
            ratios.append(seconds(lambda: write_dataset(ours, refs, settings=settings, config="c")) / theirs)
        size = sum(len(part) for part in parts)
        again_ms = 1000 * seconds(lambda: write_dataset(ours, refs, settings=settings, config="c"))
        show("shard write : raw write and sha256", ratios, bytes=size, nothing_changed_ms=round(again_ms, 1))


if __name__ == "__main__":
    main()
