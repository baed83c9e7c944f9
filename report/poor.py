"""Recordings with poor data, to listen to before training. Bounds: docs/quality.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

NAMED = 5
"""How many recordings a line names; it only counts the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poor:
    """One kind of poor data, and the recordings concerned."""

    code: str
    what: str
    recordings: tuple[str, ...]

    @property
    def line(self) -> str:
        """One line with the problem and the recordings' names."""
        more = len(self.recordings) - NAMED
        names = ", ".join(self.recordings[:NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"{self.what}: {names}"


def poor(db: duckdb.DuckDBPyConnection) -> tuple[Poor, ...]:
    """Every kind of poor data in the dataset, with the recordings concerned; empty without any."""
    kinds = []
    for code, what, sql in _WAYS:
        names = tuple(name for (name,) in db.execute(sql).fetchall())
        if names:
            kinds.append(Poor(code=code, what=what, recordings=names))
    return tuple(kinds)


def _of_facts(condition: str) -> str:
    """Recordings whose clips, taken together, fulfil a condition."""
    return f"SELECT uri FROM clips GROUP BY recording_id, uri HAVING {condition} ORDER BY uri"


def _of_drops(*codes: str) -> str:
    listed = ", ".join(f"'{code}'" for code in codes)
    return (
        "SELECT DISTINCT item FROM drops WHERE stage = 'transcribe' AND "
        f"code IN ({listed}) AND item IN (SELECT uri FROM recordings) ORDER BY item"
    )


def _of_voices(condition: str) -> str:
    return (
        "SELECT uri FROM recordings r WHERE (SELECT count(*) FROM speakers s "
        f"WHERE s.recording_id = r.recording_id AND s.speech_us > 0) {condition} ORDER BY uri"
    )


_SPEED = (
    "SELECT uri FROM recordings JOIN speakers USING (recording_id) WHERE speakers.speech_us > 0 "
    "GROUP BY recording_id, uri HAVING sum(words) > 0 AND sum(speakers.speech_us) >= 10000000 "
    "AND (sum(words) * 1e6 / sum(speakers.speech_us)) NOT BETWEEN 1 AND 6 ORDER BY uri"
)

_WAYS = (
    ("silent", "no speech was found", _of_voices("= 0")),
    ("one_voice", "one voice only", _of_voices("= 1")),
    ("foreign_language", "speech in another language than the configured one", _of_drops("foreign_language")),
    ("language_unclear", "the language is unclear", _of_drops("language_unclear", "unlikely_words")),
    ("words_a_second", "fewer than 1 or more than 6 words per second of talk", _SPEED),
    (
        "mostly_room",
        "over half of the sound's energy belongs to no speaker (room)",
        _of_facts(
            "sum(speech_us) > 0 AND sum(room_share * mix_rms * mix_rms * windows)"
            " > 0.5 * sum(mix_rms * mix_rms * windows)"
        ),
    ),
    (
        "clipped",
        "over 0.1 % of the samples are clipped",
        _of_facts("sum(clipping_share * windows) > 0.001 * sum(windows)"),
    ),
    (
        "telephone_band",
        "nothing above 4.5 kHz (telephone sound)",
        _of_facts("median(bandwidth_hz) FILTER (speech_share > 0.05) < 4500"),
    ),
    ("noisy", "speech is less than 5 dB over the noise", _of_facts("median(snr_db) < 5")),
)
