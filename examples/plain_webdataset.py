"""Read a dataset with plain webdataset: nothing of corpus is needed, only the forms in its README.

python examples/plain_webdataset.py OUT train
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import webdataset as wds


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One clip: what happens in it, and its arrays."""

    key: str
    head: dict[str, object]
    flac: bytes
    mel: np.ndarray  # uint8 [channels, windows, frames, 80]
    activity: np.ndarray  # uint8 [channels, windows, frames]
    jpegs: list[bytes | None]  # one per 200 ms window


def samples(out: Path, split: str) -> Iterator[Sample]:
    """The clips of a split, shard by shard."""
    shards = sorted(str(path) for path in (out / split).glob("*.tar"))
    for raw in wds.WebDataset(shards, shardshuffle=False, empty_check=False):
        head = json.loads(raw["json"])
        yield Sample(
            key=raw["__key__"],
            head=head,
            flac=raw["flac"],
            mel=np.load(io.BytesIO(raw["mel.npy"])),
            activity=np.load(io.BytesIO(raw["activity.npy"])),
            jpegs=pictures(head["video"], raw["mjpeg"]),
        )


def pictures(video: dict[str, list[int]] | None, mjpeg: bytes) -> list[bytes | None]:
    """The JPEG of each window; None where it has none."""
    if video is None:
        return []
    places = zip(video["offsets"], video["sizes"], strict=True)
    return [mjpeg[offset : offset + size] if size else None for offset, size in places]


def main() -> None:
    out, split = Path(sys.argv[1]), sys.argv[2]
    for sample in samples(out, split):
        shown = sum(jpeg is not None for jpeg in sample.jpegs)
        words = sample.head["words"]
        print(f"{sample.key}  mel {sample.mel.shape}  {shown} pictures  {len(words)} words")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
