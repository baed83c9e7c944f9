"""The cut recordings that enter a dataset: a million of them in 65 bytes each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

from corpus.pipeline.cache import folder_in
from corpus.schemas.dataset import SPLITS
from corpus.shards.segment_rows import SegmentRef

_BYTES = 32
"""Of a content hash, and of a digest."""


class CutSegments(Sequence[SegmentRef]):
    """Segments in a cache, in order of split and recording, made when asked for."""

    def __init__(self, cache_root: Path, made: Iterable[tuple[str, str, str]]) -> None:
        """`made` are split, recording and digest of each segment."""
        ordered = sorted((SPLITS.index(split), recording, digest) for split, recording, digest in made)
        self._root = cache_root
        self._splits = bytes(split for split, _, _ in ordered)
        self._recordings = b"".join(bytes.fromhex(recording) for _, recording, _ in ordered)
        self._digests = b"".join(bytes.fromhex(digest) for _, _, digest in ordered)

    def __len__(self) -> int:
        return len(self._splits)

    @overload
    def __getitem__(self, number: int) -> SegmentRef: ...
    @overload
    def __getitem__(self, number: slice) -> list[SegmentRef]: ...
    def __getitem__(self, number: int | slice) -> SegmentRef | list[SegmentRef]:
        if isinstance(number, slice):
            return [self._segment(one) for one in range(len(self))[number]]
        return self._segment(range(len(self))[number])

    def _segment(self, number: int) -> SegmentRef:
        part = slice(_BYTES * number, _BYTES * (number + 1))
        digest = self._digests[part].hex()
        return SegmentRef(
            folder=folder_in(self._root, "cut", digest),
            recording=self._recordings[part].hex(),
            split=SPLITS[self._splits[number]],
            digest=digest,
        )
