"""Peak memory of decode(): a 2 h file : a 10 min file, 320x240.

    python benchmarks/memory.py [--long 7200] [--short 600] [--repeats 3]

Each run is a separate process; its peak is the high-water mark of its own memory (VmHWM, because the figure
of getrusage would include the parent process). The same is measured for plain PyAV, which shows how much of
the growth is the container's index.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from long_media import conversation_like

DECODE = r"""
import re, sys
from pathlib import Path
from corpus.ingest.decode import DecodeSource, decode_media
from corpus.schemas.settings import IngestSettings
decode_media([DecodeSource(Path(sys.argv[1]))], Path(sys.argv[2]), IngestSettings())
print(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
"""
PLAIN = r"""
import re, sys
import av, numpy
with av.open(sys.argv[1]) as container:
    for stream in container.streams:
        stream.codec_context.thread_count = 1
    for packet in container.demux():
        packet.decode()
print(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
"""


def peak_mb(program: str, path: Path) -> float:
    """Peak resident megabytes of a fresh process."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory(prefix="duplex-corpus-memory-") as out:
        done = subprocess.run(
            [sys.executable, "-c", program, str(path), out],
            env={**os.environ, **threads},
            check=True,
            capture_output=True,
            text=True,
        )
    return int(done.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=int, default=7200)
    parser.add_argument("--short", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    long, short = (conversation_like(320, 240, s) for s in (arguments.long, arguments.short))
    for name, program in (("decode", DECODE), ("plain PyAV", PLAIN)):
        pairs = [(peak_mb(program, short), peak_mb(program, long)) for _ in range(arguments.repeats)]
        ratios = [b / a for a, b in pairs]
        print(
            f"{name}: short {statistics.median(a for a, _ in pairs):.1f} MB, "
            f"long {statistics.median(b for _, b in pairs):.1f} MB, "
            f"ratio {statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]",
            flush=True,
        )


if __name__ == "__main__":
    main()
