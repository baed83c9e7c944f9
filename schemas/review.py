"""One annotator's decision on one cue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from corpus.schemas.conversation import Cue

REVIEW_FORM = "corpus.review/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A decision on one cue, holding the whole cue it judged. Rows are added, never changed."""

    schema: str = REVIEW_FORM
    id: str
    recording: str
    cue: Cue
    decision: Literal["accept", "reject", "correct", "add"]
    corrected: Cue | None
    """The cue as it should be, for `correct` and `add`."""
    annotator: str
    decided_at_us: int
    """Microseconds since 1970-01-01 UTC; only ever stored here, never in a dataset's bytes."""
    note: str = ""
