"""The numbers of a built dataset, from its catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from corpus.pipeline.catalog import query
from corpus.pipeline.floor import floor_of, talking_us
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Turn
from corpus.schemas.dataset import SPLITS

BIN_US = 100_000
"""Width of a bar of the offset histogram."""
FARTHEST_US = 3_000_000
"""Offsets beyond this are counted in the outermost bars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How many there are, and how long they are in microseconds; 0 where there is none."""

    count: int
    total_us: int
    median_us: int
    low_us: int
    """First quartile."""
    high_us: int
    """Third quartile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetBar:
    """Floor transfers with an offset in `[start_us, stop_us)`."""

    start_us: int
    stop_us: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorStats:
    """Turn-taking in the sense of Heldner and Edlund (2010); `pipeline/floor.py` has the definitions."""

    units: Lengths
    pauses: Lengths
    gaps: Lengths
    overlaps_between: Lengths
    overlaps_within: Lengths
    offsets: Lengths
    offset_bars: tuple[OffsetBar, ...]
    unclear: int
    longest_monologue_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCount:
    split: str
    recordings: int
    clips: int
    windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CueCount:
    label: str
    kind: str
    count: int
    total_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DropCount:
    stage: str
    kind: str
    code: str
    items: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipLength:
    windows: int
    clips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerTime:
    recording: str
    uri: str
    speaker: str
    turns: int
    words: int
    speech_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a dataset holds."""

    recordings: int
    recorded_us: int
    clips: int
    windows: int
    written_us: int
    """Windows times 200 ms: what a model sees."""
    windows_with_picture: int
    speech_us: int
    """Anybody talks."""
    overlap_us: int
    """Two or more talk."""
    words: int
    words_without_time: int
    words_per_minute: float
    """Words by the minutes in which their speakers talk; 0 without speech."""
    speech_share: float
    """Speech by the recorded time."""
    overlap_share: float
    """Overlap by the speech."""
    splits: tuple[SplitCount, ...]
    speakers: tuple[SpeakerTime, ...]
    cues: tuple[CueCount, ...]
    drops: tuple[DropCount, ...]
    clip_lengths: tuple[ClipLength, ...]
    floor: FloorStats


def stats(out: Path) -> Stats:
    """The numbers of the dataset at OUT; raises DatasetError where it has no catalog."""
    speech_us, overlap_us, floor = _talk(out)
    speakers = tuple(SpeakerTime(**row) for row in _table(out, _SPEAKERS))
    words, untimed = _row(out, "SELECT count(*), count(*) FILTER (start_us IS NULL) FROM words")
    recordings, recorded_us = _row(
        out, "SELECT count(*), coalesce(sum(duration_us), 0)::BIGINT FROM recordings"
    )
    clips, windows, pictures = _row(
        out,
        "SELECT count(*), coalesce(sum(windows), 0)::BIGINT, coalesce(sum(pictures), 0)::BIGINT FROM clips",
    )
    minutes = sum(s.speech_us for s in speakers) / 60e6
    return Stats(
        recordings=recordings,
        recorded_us=recorded_us,
        clips=clips,
        windows=windows,
        written_us=windows * WINDOW_US,
        windows_with_picture=pictures,
        speech_us=speech_us,
        overlap_us=overlap_us,
        words=words,
        words_without_time=untimed,
        words_per_minute=round(words / minutes, 1) if minutes else 0.0,
        speech_share=speech_us / recorded_us if recorded_us else 0.0,
        overlap_share=overlap_us / speech_us if speech_us else 0.0,
        splits=_splits(out),
        speakers=speakers,
        cues=tuple(CueCount(**row) for row in _table(out, _CUES)),
        drops=tuple(DropCount(**row) for row in _table(out, _DROPS)),
        clip_lengths=tuple(ClipLength(**row) for row in _table(out, _LENGTHS)),
        floor=floor,
    )


_SPEAKERS = """
SELECT recording_id AS recording, uri, speaker, turns, coalesce(n, 0)::BIGINT AS words, speech_us
FROM speech_by_speaker JOIN recordings USING (recording_id)
LEFT JOIN (SELECT recording_id, speaker, count(*) AS n FROM words GROUP BY ALL) USING (recording_id, speaker)
ORDER BY uri, recording, list_position(speakers, speaker)
"""
_CUES = """
SELECT label::VARCHAR AS label, kind, count(*) AS count, sum(stop_us - start_us)::BIGINT AS total_us
FROM cues GROUP BY ALL ORDER BY label, kind
"""
_DROPS = """
SELECT stage, kind::VARCHAR AS kind, code, count(DISTINCT item) AS items, sum(count)::BIGINT AS count
FROM drops GROUP BY ALL ORDER BY kind, items DESC, stage, code
"""
_LENGTHS = "SELECT windows, count(*) AS clips FROM clips GROUP BY windows ORDER BY windows"
_SPLITS = """
SELECT split, count(DISTINCT recording_id) AS recordings, count(*) AS clips, sum(windows)::BIGINT AS windows
FROM clips GROUP BY split
"""


def _splits(out: Path) -> tuple[SplitCount, ...]:
    found = {row["split"]: SplitCount(**row) for row in _table(out, _SPLITS)}
    empty = {name: SplitCount(split=name, recordings=0, clips=0, windows=0) for name in SPLITS}
    return tuple({**empty, **found}.values())


def _talk(out: Path) -> tuple[int, int, FloorStats]:
    """Everything that needs the turns, one recording after another."""
    speech = overlap = unclear = longest = 0
    lengths: dict[str, list[int]] = {name: [] for name in _LISTS}
    for turns in _turns(out):
        talk_us, both_us = talking_us(turns)
        floor = floor_of(turns)
        speech, overlap = speech + talk_us, overlap + both_us
        unclear, longest = unclear + floor.unclear, max(longest, floor.longest_monologue_us)
        for name in _LISTS:
            lengths[name] += getattr(floor, f"{name}_us")
    found = FloorStats(
        **{name: lengths_of(values) for name, values in lengths.items()},
        offset_bars=offset_bars(lengths["offsets"]),
        unclear=unclear,
        longest_monologue_us=longest,
    )
    return speech, overlap, found


_LISTS = ("units", "pauses", "gaps", "overlaps_between", "overlaps_within", "offsets")


def _turns(out: Path) -> Iterator[list[Turn]]:
    _, rows = query(out, "SELECT recording_id, speaker, start_us, stop_us FROM turns ORDER BY ALL")
    for _, group in groupby(rows, key=lambda row: row[0]):
        yield [Turn(speaker=who, start_us=start_us, stop_us=stop_us) for _, who, start_us, stop_us in group]


def lengths_of(values: Sequence[int]) -> Lengths:
    """Median and quartiles, each the value at or below which at least that share lies."""
    ranked = sorted(values)
    low, median, high = (ranked[-(-len(ranked) * q // 4) - 1] if ranked else 0 for q in (1, 2, 3))
    return Lengths(count=len(ranked), total_us=sum(ranked), median_us=median, low_us=low, high_us=high)


def offset_bars(offsets_us: Sequence[int]) -> tuple[OffsetBar, ...]:
    """A bar for every BIN_US from -FARTHEST_US to FARTHEST_US; what lies beyond is in the outermost."""
    bars = [0] * (2 * FARTHEST_US // BIN_US)
    for offset_us in offsets_us:
        place = (offset_us + FARTHEST_US) // BIN_US
        bars[min(max(place, 0), len(bars) - 1)] += 1
    starts = range(-FARTHEST_US, FARTHEST_US, BIN_US)
    return tuple(
        OffsetBar(start_us=start_us, stop_us=start_us + BIN_US, count=count)
        for start_us, count in zip(starts, bars, strict=True)
    )


def _table(out: Path, sql: str) -> Iterator[dict[str, Any]]:
    columns, rows = query(out, sql)
    return (dict(zip(columns, row, strict=True)) for row in rows)


def _row(out: Path, sql: str) -> tuple[int, ...]:
    (row,) = query(out, sql)[1]
    return tuple(row)
