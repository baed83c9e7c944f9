"""What the report lists by name, read from the catalog: only the first of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from corpus.report.stats import read_rows

if TYPE_CHECKING:
    import duckdb

_VOICES = 16
_OVERLAPPED = 16
_FAULTS = 50
RECORDINGS = 50
ODDITIES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    uri: str
    speaker: str
    speech_us: int
    words_per_minute: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overlapped:
    uri: str
    overlap_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    item: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _RecordingLine:
    uri: str
    split: str
    duration_us: int
    speakers: int
    speech_share: float
    overlap_share: float
    cues: int
    sidecars: list[str]
    streams: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _OddityLine:
    code: str
    count: int
    recordings: int
    uri: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    voices: tuple[Voice, ...]
    """The voices that talk most."""
    overlapped: tuple[_Overlapped, ...]
    """The recordings with most overlap."""
    faults: tuple[_Fault, ...]
    recordings: tuple[_RecordingLine, ...]
    """The longest recordings."""
    oddities: tuple[_OddityLine, ...]
    """The most frequent oddities, each with its first example."""
    settings_json: str
    versions_json: str


def read_lists(db: duckdb.DuckDBPyConnection) -> Lists:
    run = db.execute("SELECT settings::VARCHAR, versions::VARCHAR FROM runs").fetchone() or ("{}", "{}")
    return Lists(
        voices=read_rows(
            db,
            Voice,
            "SELECT uri, speaker, speech_us, words_per_minute FROM speech_by_speaker "
            f"ORDER BY speech_us DESC, uri, speaker LIMIT {_VOICES}",
        ),
        overlapped=read_rows(
            db,
            _Overlapped,
            "SELECT uri, overlap_us / nullif(duration_us, 0) AS overlap_share FROM recordings "
            f"WHERE overlap_us > 0 ORDER BY overlap_share DESC, uri LIMIT {_OVERLAPPED}",
        ),
        faults=read_rows(
            db,
            _Fault,
            "SELECT item, stage, reason FROM drops WHERE kind = 'fault' "
            f"ORDER BY item, stage LIMIT {_FAULTS}",
        ),
        recordings=read_rows(db, _RecordingLine, _RECORDINGS),
        oddities=read_rows(db, _OddityLine, _ODDITIES),
        settings_json=run[0],
        versions_json=run[1],
    )


_RECORDINGS = f"""
WITH longest AS (FROM recordings ORDER BY duration_us DESC, uri LIMIT {RECORDINGS}),
voices AS (SELECT recording_id, count(*) AS speakers FROM speakers GROUP BY ALL),
labels AS (SELECT recording_id, count(*) AS cues FROM cues GROUP BY ALL),
tracks AS (
    SELECT recording_id, string_agg(
        CASE kind WHEN 'video' THEN format('{{}} {{}}x{{}}', codec, width, height)
        ELSE format('{{}} {{}} Hz, {{}} ch', codec, rate, channels) END,
        '; ' ORDER BY file, stream_id) AS streams
    FROM streams WHERE chosen GROUP BY recording_id)
SELECT uri, split, duration_us, coalesce(speakers, 0) AS speakers,
    coalesce(speech_us / nullif(duration_us, 0), 0) AS speech_share,
    coalesce(overlap_us / nullif(duration_us, 0), 0) AS overlap_share,
    coalesce(cues, 0) AS cues, sidecars, coalesce(streams, '') AS streams
FROM longest LEFT JOIN voices USING (recording_id) LEFT JOIN labels USING (recording_id)
LEFT JOIN tracks USING (recording_id) ORDER BY duration_us DESC, uri
"""

_ODDITIES = f"""
SELECT code, count(*) AS count, count(DISTINCT recording_id) AS recordings, min_by(uri, uri) AS uri,
    min_by(detail, uri) AS detail
FROM oddities JOIN recordings USING (recording_id) GROUP BY code ORDER BY count DESC, code LIMIT {ODDITIES}
"""
