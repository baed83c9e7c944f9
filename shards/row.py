"""Appending a clip's bytes to a tar, and the row of clips.parquet that describes them."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from corpus.schemas.activity import PADDED, SEPARATED, UNRELIABLE
from corpus.schemas.clip import MEMBERS, ClipHead
from corpus.schemas.span import Span, intersect, union
from corpus.shards.columns import ClipRow
from corpus.shards.tar import header, padding


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a clip's bytes are in a tar; fields as in `ClipRow`."""

    offset: int
    size: int
    member_offsets: tuple[int, ...]
    member_sizes: tuple[int, ...]
    sha256: str


def append_clip(tar: BinaryIO, offset: int, key: str, contents: Sequence[bytes]) -> Place:
    """Write the members of one clip at the end of `tar`, which is `offset` bytes long."""
    hasher = hashlib.sha256()
    offsets = []
    at = offset
    for suffix, content in zip(MEMBERS, contents, strict=True):
        # Hash while writing: a clip's bytes are never read back.
        parts = (header(f"{key}.{suffix}", len(content)), content, bytes(padding(len(content))))
        offsets.append(at + len(parts[0]))
        for part in parts:
            tar.write(part)
            hasher.update(part)
            at += len(part)
    return Place(
        offset=offset,
        size=at - offset,
        member_offsets=tuple(offsets),
        member_sizes=tuple(len(content) for content in contents),
        sha256=hasher.hexdigest(),
    )


def clip_row(
    head: ClipHead,
    place: Place,
    flags: npt.NDArray[np.uint8],
    mix: npt.NDArray[np.int32],
    *,
    conversation: str | None,
    named_speakers: tuple[str, ...],
) -> ClipRow:
    """The row of a clip; `flags` is its activity `[channels, windows, frames]`, `mix` its int32 mix."""
    talking = _talking(head)
    overlap_us = sum(span.duration_us for span in _overlaps(talking))
    speech_us = sum(span.duration_us for span in union(s for spans in talking for s in spans))
    peak, rms = _loudness(mix)
    return ClipRow(
        key=head.key,
        split=head.split,
        recording=head.recording,
        uri=head.source.uri,
        licence=head.source.licence,
        consent=head.source.consent,
        conversation=conversation,
        named_speakers=named_speakers,
        speakers=head.speakers,
        first_window=head.first_window,
        windows=head.windows,
        start_us=head.start_us,
        stop_us=head.stop_us,
        sample_rate_hz=head.sample_rate_hz,
        turns=len(head.turns),
        words=len(head.words),
        cues=len(head.cues),
        events=len(head.events),
        speech_us=speech_us,
        overlap_us=overlap_us,
        pictures=sum(size > 0 for size in head.video.sizes) if head.video else 0,
        unreliable_share=_share(flags, UNRELIABLE),
        separated_share=_share(flags, SEPARATED),
        padded_share=_share(flags, PADDED),
        mix_peak=peak,
        mix_rms=rms,
        config=head.config,
        **dataclasses.asdict(place),
        **(dataclasses.asdict(head.quality) if head.quality else {}),
    )


def _talking(head: ClipHead) -> list[list[Span]]:
    """For each speaker, when they talk within the clip."""
    clip = Span(head.start_us, head.stop_us)
    return [
        union(common for t in head.turns if t.speaker == name and (common := t.span & clip))
        for name in head.speakers
    ]


def _overlaps(talking: Sequence[Sequence[Span]]) -> list[Span]:
    """When two or more speakers talk."""
    both: list[Span] = []
    before: list[Span] = []
    for spans in talking:
        # Against the union of all speakers so far: each pair is met once.
        both += intersect(before, spans)
        before = union([*before, *spans])
    return union(both)


def _share(flags: npt.NDArray[np.uint8], bit: int) -> float:
    return float(np.count_nonzero(flags & bit)) / flags.size


def _loudness(mix: npt.NDArray[np.int32]) -> tuple[float, float]:
    """Peak and root mean square; the sum of squares is exact, so the figure is the same everywhere."""
    # Squares of int32 need 64 bits; their sum stays exact up to hours of full scale.
    wide = mix.astype(np.int64)
    peak = float(np.abs(wide).max()) / 32768
    return peak, math.sqrt(int(np.square(wide).sum()) / wide.size) / 32768
