"""Statistics of a built dataset, from its catalog: hours, speech, overlap, floor, cues, drops.

Pauses, gaps, overlaps and floor-transfer offsets are defined by Heldner & Edlund (2010), see
`transitions.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from corpus.report.catalog import open_catalog
from corpus.report.cue_counts import CueCount, cue_counts
from corpus.report.funnel import Funnel, funnel
from corpus.report.poor import Poor, poor
from corpus.report.spread import Offsets, Spread, offsets, spread
from corpus.report.transitions import TransitionKind
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.errors import DatasetError

if TYPE_CHECKING:
    import duckdb

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Floor:
    """What lies between one speaker talking alone and the next (Heldner & Edlund 2010)."""

    units: int
    """Inter-pausal units."""
    unit: Spread
    pauses: Spread
    gaps: Spread
    overlaps_between: Spread
    overlaps_within: Spread
    unclear: int
    offsets: Offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class _SpeechShare:
    """How much is said. Shares are of the recordings' time."""

    speech_us: int
    """Time in which anybody talks."""
    speech_share: float
    overlap_us: int
    """Time in which two or more talk."""
    overlap_share: float
    overlap_of_speech: float
    turns: int
    words: int
    words_without_time: int
    words_per_minute: float | None
    """Of talking time, over the speakers who have words; None without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongestMonologue:
    """The longest stretch in which only one speaker is heard, pauses included."""

    uri: str
    speaker: str
    start_us: int
    stop_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _DropCount:
    """Drops of one kind and reason."""

    kind: str
    stage: str
    code: str
    drops: int
    things: int
    """What the drops stand for together: words, lines, samples."""
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCount:
    split: str
    recordings: int
    clips: int
    windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _LengthCount:
    """How many clips have this many windows."""

    windows: int
    clips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """A name and how often it occurs."""

    name: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmade:
    """A label that was not looked for, the reason, and in how many recordings."""

    label: str
    reason: str
    recordings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quality:
    """Shares of all frames of all channels, weighted by clip length."""

    unreliable_share: float
    separated_share: float
    padded_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The statistics of a dataset."""

    config: str
    recordings: int
    recorded_us: int
    clips: int
    windows: int
    written_us: int
    """Time covered by windows."""
    bytes: int
    """Size of the clips in the shards."""
    speakers: int
    """Voices, counted separately in each recording."""
    named_people: int
    """Different people known by name in all recordings."""
    windows_with_picture: int
    recordings_with_sidecars: int
    talk: _SpeechShare
    floor: _Floor
    longest_monologue: LongestMonologue | None
    splits: tuple[SplitCount, ...]
    clip_lengths: tuple[_LengthCount, ...]
    """The ten most frequent lengths, longest first."""
    cues: tuple[CueCount, ...]
    unmade: tuple[Unmade, ...]
    """Labels that some recordings lack; the most frequent reasons for each first."""
    events: tuple[_Named, ...]
    oddities: tuple[_Named, ...]
    drops: tuple[_DropCount, ...]
    """Faults first."""
    quality: _Quality
    funnel: Funnel
    poor: tuple[Poor, ...]

    @property
    def hours(self) -> float:
        return self.written_us / 3.6e9


def dataset_stats(out: Path) -> Stats:
    """The statistics of the dataset at `out`.

    Raises:
        DatasetError: there is no catalog.
    """
    with open_catalog(out) as connection:
        return _stats(connection)


def _stats(db: duckdb.DuckDBPyConnection) -> Stats:
    config = _one(db, "SELECT run_id FROM runs")[0]
    recordings, recorded_us, beside = _one(
        db, "SELECT count(*), sum(duration_us), count(*) FILTER (len(sidecars) > 0) FROM recordings"
    )
    clips, windows, size, pictures = _one(
        db, "SELECT count(*), sum(windows), sum(size), sum(pictures) FROM clips"
    )
    speakers, named = _one(db, "SELECT count(*), count(DISTINCT speaker) FILTER (named) FROM speakers")
    return Stats(
        config=config,
        recordings=recordings,
        recorded_us=recorded_us,
        clips=clips,
        windows=windows,
        written_us=windows * WINDOW_US,
        bytes=size,
        speakers=speakers,
        named_people=named,
        windows_with_picture=pictures,
        recordings_with_sidecars=beside,
        talk=_talk(db, recorded_us),
        floor=_floor(db),
        longest_monologue=_longest(db),
        splits=_splits(db),
        clip_lengths=_clip_lengths(db),
        cues=cue_counts(db),
        unmade=read_rows(
            db,
            Unmade,
            "SELECT label, reason, count(*) AS recordings FROM labels_made WHERE NOT made "
            "GROUP BY label, reason ORDER BY label, recordings DESC, reason",
        ),
        events=_named(db, "SELECT label, count(*) FROM events GROUP BY 1 ORDER BY 2 DESC, 1"),
        oddities=_named(db, "SELECT code, count(*) FROM oddities GROUP BY 1 ORDER BY 2 DESC, 1"),
        drops=read_rows(db, _DropCount, "FROM drop_counts ORDER BY kind DESC, drops DESC, stage, code"),
        quality=_quality(db),
        funnel=funnel(db),
        poor=poor(db),
    )


def _one(db: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The one row of an aggregate or of `runs`; sums over nothing are 0.

    Raises:
        DatasetError: there is no row.
    """
    row = db.execute(sql).fetchone()
    if row is None:
        raise DatasetError("holds no run", where="catalog.duckdb", todo="run corpus build again")
    return tuple(0 if value is None else value for value in row)


def read_rows(db: duckdb.DuckDBPyConnection, cls: type[_Row], sql: str) -> tuple[_Row, ...]:
    """Rows as instances of `cls`, whose fields are named like the columns."""
    result = db.execute(sql)
    names = [column[0] for column in result.description or ()]
    return tuple(cls(**dict(zip(names, row, strict=True))) for row in result.fetchall())


def _named(db: duckdb.DuckDBPyConnection, sql: str) -> tuple[_Named, ...]:
    return tuple(_Named(name=name, count=count) for name, count in db.execute(sql).fetchall())


def _talk(db: duckdb.DuckDBPyConnection, recorded_us: int) -> _SpeechShare:
    speech_us, overlap_us = _one(db, "SELECT sum(speech_us), sum(overlap_us) FROM recordings")
    words, timeless = _one(db, "SELECT count(*), count(*) FILTER (start_us IS NULL) FROM words")
    spoken, spoken_us = _one(db, "SELECT sum(words), sum(speech_us) FROM speakers WHERE words > 0")
    return _SpeechShare(
        speech_us=speech_us,
        speech_share=share(speech_us, recorded_us),
        overlap_us=overlap_us,
        overlap_share=share(overlap_us, recorded_us),
        overlap_of_speech=share(overlap_us, speech_us),
        turns=_one(db, "SELECT count(*) FROM turns")[0],
        words=words,
        words_without_time=timeless,
        words_per_minute=words_per_minute(spoken, spoken_us),
    )


def share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def words_per_minute(words: int, talking_us: int) -> float | None:
    return words * 60e6 / talking_us if words and talking_us else None


def _floor(db: duckdb.DuckDBPyConnection) -> _Floor:
    lengths = {kind: _lengths(db, f"transitions WHERE kind = '{kind}'") for kind in get_args(TransitionKind)}
    units = _lengths(db, "units")
    return _Floor(
        units=len(units),
        unit=spread(units),
        pauses=spread(lengths["pause"]),
        gaps=spread(lengths["gap"]),
        overlaps_between=spread(lengths["overlap_between"]),
        overlaps_within=spread(lengths["overlap_within"]),
        unclear=len(lengths["unclear"]),
        offsets=offsets(np.concatenate([lengths["gap"], -lengths["overlap_between"]])),
    )


def _lengths(db: duckdb.DuckDBPyConnection, source: str) -> npt.NDArray[np.int64]:
    """As an array: millions of them take eight bytes each."""
    column = db.execute(f"SELECT stop_us - start_us AS length_us FROM {source}").fetchnumpy()
    return np.asarray(column["length_us"], np.int64)


def _longest(db: duckdb.DuckDBPyConnection) -> LongestMonologue | None:
    longest = read_rows(
        db,
        LongestMonologue,
        "SELECT uri, monologue_speaker AS speaker, monologue_start_us AS start_us, "
        "monologue_stop_us AS stop_us FROM recordings WHERE monologue_speaker IS NOT NULL "
        "ORDER BY stop_us - start_us DESC, uri LIMIT 1",
    )
    return longest[0] if longest else None


def _splits(db: duckdb.DuckDBPyConnection) -> tuple[SplitCount, ...]:
    return read_rows(
        db,
        SplitCount,
        "SELECT split, count(DISTINCT recording_id) AS recordings, count(*) AS clips, "
        "sum(windows)::BIGINT AS windows FROM clips GROUP BY split ORDER BY split::split_name",
    )


def _clip_lengths(db: duckdb.DuckDBPyConnection) -> tuple[_LengthCount, ...]:
    return read_rows(
        db,
        _LengthCount,
        "FROM (SELECT windows, count(*) AS clips FROM clips GROUP BY windows "
        "ORDER BY clips DESC, windows DESC LIMIT 10) ORDER BY windows DESC",
    )


def _quality(db: duckdb.DuckDBPyConnection) -> _Quality:
    shares = ", ".join(
        f"sum({name} * windows * (len(speakers) + 1)) / sum(windows * (len(speakers) + 1))"
        for name in ("unreliable_share", "separated_share", "padded_share")
    )
    unreliable, separated, padded = _one(db, f"SELECT {shares} FROM clips")
    return _Quality(unreliable_share=unreliable, separated_share=separated, padded_share=padded)
