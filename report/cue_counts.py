"""Cues by label and kind: counts, rates per minute, published rates, and an example to listen to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_EXAMPLES_TRIED = 20
"""So many of the surest cues of a kind are looked up in the clips; time that was cut away is in none."""

_PUBLISHED: dict[tuple[str, str], str] = {
    ("backchannel", "lexical"): "3.4 (AMI), 17 (CANDOR)",
    ("hesitation", "filled_pause"): "6.0 (AMI)",
    ("hesitation", "stall"): "2.3 (AMI)",
    ("self_correction", "repetition"): "3.1 (AMI)",
    ("self_correction", "substitution"): "0.6 (AMI)",
    ("self_correction", "insertion"): "0.2 (AMI)",
    ("self_correction", "deletion"): "0.8 (AMI)",
    ("invitation", "question"): "1.9 (AMI)",
    ("invitation", "suggestion"): "0.2 (AMI)",
    ("invitation", "tag"): "0.1 (AMI)",
}
SOURCES = (
    "AMI: people's marks in 20 of its meetings, four speakers, 10.2 h (Carletta et al. 2005). CANDOR: about "
    "a thousand backchannel words an hour of speech between two (Reece et al. 2023). For the others none "
    "was found."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CueCount:
    label: str
    kind: str
    count: int
    total_us: int
    per_minute: float | None
    """Over the recordings in which the label was looked for; None if there are none."""
    example_clip: str | None
    """Key of a clip with one of the most certain cues; None if all of them lie outside the clips."""
    example_uri: str
    example_start_us: int
    """Time in the recording."""
    example_offset_us: int
    """Time in the clip."""

    @property
    def name(self) -> str:
        return f"{self.label} · {self.kind}".rstrip(" ·").replace("_", " ")

    @property
    def published(self) -> str:
        """Cues per minute in published corpora, with the corpora's names; "" if none is known."""
        return _PUBLISHED.get((self.label, self.kind), "")


def cue_counts(db: duckdb.DuckDBPyConnection) -> tuple[CueCount, ...]:
    """Counts of cues by label and kind."""
    rows = db.execute(_COUNTS).fetchall()
    return tuple(
        CueCount(
            label=label,
            kind=kind,
            count=count,
            total_us=total_us,
            per_minute=count * 60e6 / looked_us if looked_us else None,
            example_clip=clip,
            example_uri=uri or "",
            example_start_us=start_us or 0,
            example_offset_us=(start_us or 0) - (clip_start_us or 0),
        )
        for label, kind, count, total_us, looked_us, clip, uri, start_us, clip_start_us in rows
    )


_COUNTS = f"""
WITH looked AS (
    SELECT m.label, sum(r.duration_us)::BIGINT AS looked_us
    FROM labels_made m JOIN recordings r USING (recording_id) WHERE m.made GROUP BY m.label
), counted AS (
    SELECT label, kind, sum(cues)::BIGINT AS count, sum(total_us)::BIGINT AS total_us
    FROM cue_counts GROUP BY label, kind
), surest AS (
    SELECT recording_id, label, kind, start_us, confidence FROM cues
    QUALIFY row_number() OVER (
        PARTITION BY label, kind ORDER BY confidence DESC, recording_id, start_us
    ) <= {_EXAMPLES_TRIED}
), placed AS (
    SELECT s.label, s.kind, s.start_us, c.clip_id, c.uri, c.start_us AS clip_start_us
    FROM surest s JOIN clips c
        ON s.recording_id = c.recording_id AND s.start_us >= c.start_us AND s.start_us < c.stop_us
    QUALIFY row_number() OVER (
        PARTITION BY s.label, s.kind ORDER BY s.confidence DESC, s.recording_id, s.start_us, c.clip_id
    ) = 1
)
SELECT k.label, k.kind, k.count, k.total_us, l.looked_us, p.clip_id, p.uri, p.start_us, p.clip_start_us
FROM counted k LEFT JOIN looked l ON k.label = l.label
    LEFT JOIN placed p ON k.label = p.label AND k.kind = p.kind
ORDER BY k.label, k.kind
"""
