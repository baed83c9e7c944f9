"""`verify` on one processor : on two, with the same dataset, interleaved; files in the page cache."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from clips import seconds, segments, show

from corpus.schemas.settings import Settings
from corpus.shards.verify import verify_dataset
from corpus.shards.write import write_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--recordings", type=int, default=6)
    parser.add_argument("--minutes", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "OUT"
        refs = segments(Path(name) / "made", options.recordings, options.minutes)
        manifest = write_dataset(out, refs, settings=Settings(), config="c")
        size = sum(shard.bytes for shard in manifest.shards)
        ratios = []
        for _ in range(options.rounds):
            one = seconds(lambda: verify_dataset(out, num_workers=1))
            two = seconds(lambda: verify_dataset(out, num_workers=2))
            ratios.append(one / two)
        show("verify on one processor : on two", ratios, bytes=size)


if __name__ == "__main__":
    main()
