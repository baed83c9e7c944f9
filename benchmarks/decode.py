"""decode() : plain PyAV decoding of the same streams, on one core.

    python benchmarks/decode.py [--seconds 300] [--repeats 5] [--sizes 1280x720,1920x1080]

The baseline opens the file, demuxes both streams and decodes every packet in one thread, and nothing more.
The two take turns in one process; the first pair is discarded.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# The numerical libraries read these when they are first imported, hence the order.
import av  # noqa: E402
from long_media import conversation_like  # noqa: E402

from corpus.ingest.decode import DecodeSource, decode_media  # noqa: E402
from corpus.schemas.settings import IngestSettings  # noqa: E402


def plain(path: Path) -> float:
    start = time.process_time()
    with av.open(str(path)) as container:
        for stream in (container.streams.video[0], container.streams.audio[0]):
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = av.codec.context.ThreadType.NONE
        for packet in container.demux(container.streams.video[0], container.streams.audio[0]):
            packet.decode()
    return time.process_time() - start


def ours(path: Path) -> float:
    out = Path(tempfile.mkdtemp(prefix="duplex-corpus-decode-"))
    start = time.process_time()
    decode_media([DecodeSource(path)], out, IngestSettings())
    taken = time.process_time() - start
    shutil.rmtree(out)
    return taken


def compare(path: Path, repeats: int) -> None:
    floors, tries, ratios = list[float](), list[float](), list[float]()
    for turn in range(repeats + 1):
        floor, taken = plain(path), ours(path)
        if turn:
            floors.append(floor)
            tries.append(taken)
            ratios.append(taken / floor)
    print(f"{path.name}: plain {_spread(floors, 's')}; decode {_spread(tries, 's')}")
    print(f"{path.name}: ratio {_spread(ratios, '')}", flush=True)


def _spread(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):.3f}{unit} [{min(values):.3f}, {max(values):.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", default="1280x720,1920x1080")
    arguments = parser.parse_args()
    machine = f"{platform.machine()} {os.cpu_count()} cores"
    print(f"{machine}, Python {platform.python_version()}, av {av.__version__}")
    print("CPU seconds, median [min, max]")
    for size in arguments.sizes.split(","):
        width, height = map(int, size.split("x"))
        compare(conversation_like(width, height, arguments.seconds), arguments.repeats)


if __name__ == "__main__":
    main()
