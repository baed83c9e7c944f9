"""Hours in, hours out, and the reasons for the rest: every microsecond given is in the dataset or in a loss.

    given   = length of every recording, built or not, whose length is known
    losses  = recordings that were not built, gaps and last partial windows, clips that a filter left out
    kept    = windows of the clips

The three are counted from independent sources, so their balance is a real check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_BY_STAGE = ("input", "decode", "sight", "diarize", "transcribe", "channels", "voices", "prosody", "label")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Time lost in one stage for one reason."""

    stage: str
    code: str
    items: int
    """Recordings not built, gaps, partial windows or clips."""
    us: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """What was given, lost and kept."""

    given_us: int
    losses: tuple[Loss, ...]
    """In the order of the stages, the largest first within each."""
    kept_us: int
    unknown: int
    """Items not built whose length is unknown, including files that are not media."""

    @property
    def lost_us(self) -> int:
        return sum(loss.us for loss in self.losses)

    @property
    def unaccounted_us(self) -> int:
        """Time lost without a reason; anything but 0 is an error."""
        return self.given_us - self.lost_us - self.kept_us


def funnel(db: duckdb.DuckDBPyConnection) -> Funnel:
    """The funnel of the dataset whose catalog this is."""
    recorded_us, kept_us, unbuilt_us, unknown = db.execute(_SUMS).fetchone() or (0, 0, 0, 0)
    return Funnel(
        given_us=recorded_us + unbuilt_us, losses=tuple(_losses(db)), kept_us=kept_us, unknown=unknown
    )


def _losses(db: duckdb.DuckDBPyConnection) -> Iterator[Loss]:
    rows = db.execute(_LOSSES).fetchall()
    order = {stage: place for place, stage in enumerate((*_BY_STAGE, "quality", "filter", "cut", "write"))}
    for stage, code, items, us, example in sorted(
        rows, key=lambda row: (order.get(row[0], len(order)), -row[3], row[1])
    ):
        yield Loss(stage=stage, code=code, items=items, us=us, example=example)


_UNBUILT = """
SELECT item, arg_min(stage, place) AS stage, arg_min(code, place) AS code, arg_min(reason, place) AS reason,
    max(stop_us - start_us) AS us
FROM (SELECT *, row_number() OVER (ORDER BY kind DESC, stage, code, reason) AS place FROM drops)
WHERE item NOT IN (SELECT uri FROM recordings) GROUP BY item
"""
"""Each item without a recording in the dataset, once, with its first report and its length."""

_SUMS = f"""
SELECT (SELECT coalesce(sum(duration_us), 0)::BIGINT FROM recordings),
    (SELECT coalesce(sum(stop_us - start_us), 0)::BIGINT FROM clips),
    (SELECT coalesce(sum(us), 0)::BIGINT FROM ({_UNBUILT})),
    (SELECT count(*) FROM ({_UNBUILT}) WHERE us IS NULL)
"""

_LOSSES = f"""
SELECT stage, code, count(*) AS items, sum(us)::BIGINT AS us, min(example) AS example FROM (
    SELECT stage, code, us, reason AS example FROM ({_UNBUILT}) WHERE us IS NOT NULL
    UNION ALL
    SELECT stage, code, stop_us - start_us, item || ': ' || reason FROM drops
    WHERE item IN (SELECT uri FROM recordings) AND (stage = 'filter' OR code = 'last_partial_window')
    UNION ALL
    SELECT 'decode', code, stop_us - start_us, uri || ': ' || detail
    FROM oddities JOIN recordings USING (recording_id) WHERE code = 'unwritten_gap'
) GROUP BY stage, code
"""
