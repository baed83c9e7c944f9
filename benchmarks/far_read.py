"""Reading every byte of every clip from a local S3 server : reading the same server in ranges of 8 MiB.

    python far_read.py [--rounds 5] [--recordings 2] [--minutes 5]

Needs moto[server] and s3fs (`make test-s3` makes an environment for them). The server is a separate process.
Wall time is measured in turns: ours reads in order (blocks of 8 MiB, three ahead, keeping nothing), `stream`
is `stream_clips`. Ours checks clips against their digests; the other two do not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from clips import segments, show
from same_bytes import make_bucket, point_to_server

from corpus.schemas.clip import MEMBERS
from corpus.schemas.settings import Settings
from corpus.schemas.store import store_at
from corpus.shards.read import Clip, open_clips
from corpus.shards.stream import stream_clips
from corpus.shards.write import read_manifest, write_dataset

RANGE_BYTES = 8 << 20
URL = "s3://bucket/out"


def wall_s(work: Callable[[], int], expected: int) -> float:
    began = time.perf_counter()
    got = work()
    spent = time.perf_counter() - began
    assert got >= expected, (got, expected)
    return spent


def raw_bytes(shards: list[tuple[str, int]]) -> int:
    store = store_at(URL)
    return sum(
        len(store.open_range(path, start, min(start + RANGE_BYTES, size)))
        for path, size in shards
        for start in range(0, size, RANGE_BYTES)
    )


def clip_bytes(clip: Clip) -> int:
    return sum(len(clip.member(name)) for name in MEMBERS)


def our_bytes() -> int:
    return sum(clip_bytes(clip) for clip in open_clips(URL))


def streamed_bytes() -> int:
    return sum(clip_bytes(clip) for clip in stream_clips(URL))


def server() -> subprocess.Popen[bytes]:
    """Moto's S3 server with an empty bucket; the environment names it."""
    port = point_to_server()
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    make_bucket(port)
    return process


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recordings", type=int, default=2)
    parser.add_argument("--minutes", type=int, default=5)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # webdataset's own
    process = server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            made = segments(Path(folder), asked.recordings, asked.minutes)
            write_dataset(out, made, settings=Settings(), config="0" * 64)
            store = store_at(URL)
            for path in out.rglob("*"):
                if path.is_file():
                    store.publish(path, path.relative_to(out).as_posix())
            manifest = read_manifest(out)
            assert manifest is not None
            shards = [(shard.path, shard.bytes) for shard in manifest.shards]
            expected = sum(clip_bytes(clip) for clip in open_clips(out))
        ours, streamed = [], []
        for _ in range(asked.rounds):
            raw = wall_s(lambda: raw_bytes(shards), expected)
            ours.append(wall_s(our_bytes, expected) / raw)
            streamed.append(wall_s(streamed_bytes, expected) / raw)
        show("clips over S3 : ranges of 8 MiB", ours, bytes=expected, bar=1.3)
        show("stream over S3 : ranges of 8 MiB", streamed, bytes=expected)
    finally:
        process.kill()


if __name__ == "__main__":
    main()
