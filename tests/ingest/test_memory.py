"""Memory does not grow with the length of a file."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PROGRAM = r"""
import re, sys
from pathlib import Path
from corpus.ingest.decode import DecodeSource, decode_media
from corpus.schemas.settings import IngestSettings
decode([DecodeSource(Path(sys.argv[1]))], Path(sys.argv[2]), IngestSettings())
print(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_peak_memory_of_twelve_times_the_length(media: ModuleType, tmp_path: Path) -> None:
    peaks = []
    for seconds in (60, 720):
        out = tmp_path / f"{seconds}"
        out.mkdir()
        tone = np.sin(np.arange(seconds * 16_000) / 7)
        path = media.write_media(
            tmp_path / f"{seconds}.mkv",
            duration_s=seconds,
            audio=[media.Audio("aac", rate_hz=16_000, track=tone)],
            video=media.Video(width=160, height=120, rate=Fraction(10)),
        )
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(path), str(out)], check=True, capture_output=True, text=True
        )
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] <= 1.10 * peaks[0]
    assert peaks[1] < 600
