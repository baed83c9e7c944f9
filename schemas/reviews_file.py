"""reviews.parquet: the annotators' decisions as read by a build. The review server replaces it atomically."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from corpus.schemas.codec import from_json
from corpus.schemas.conversation import Cue, CueSpan, Turn, Word
from corpus.schemas.errors import FormatError
from corpus.schemas.review import Judged, Review

REVIEWS_FILE = "reviews.parquet"
SEQUENCE_KEY = "corpus.last_sequence"


def last_sequence(out: Path) -> int:
    """The number of the last review in OUT/reviews.parquet; 0 without any."""
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(out / REVIEWS_FILE).metadata or {}
    except (OSError, ValueError):
        return 0
    return int(metadata.get(SEQUENCE_KEY.encode(), b"0"))


def review_texts(path: Path) -> dict[str, tuple[str, ...]]:
    """All reviews of a Parquet file as JSON, by recording, in order.

    Raises:
        FormatError: not such a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["recording_id", "review"])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise FormatError(f"is not a file of reviews: {error}", where=str(path)) from error
    texts_of: dict[str, list[str]] = defaultdict(list)
    for recording, text in zip(table["recording_id"].to_pylist(), table["review"].to_pylist(), strict=True):
        texts_of[recording].append(text)
    return {recording: tuple(texts) for recording, texts in texts_of.items()}


def read_reviews(path: Path) -> list[Review]:
    """All reviews of a Parquet file, in the order of their numbers.

    Raises:
        FormatError: not such a file.
        NewerSchemaError: written by a newer version.
    """
    texts = (text for of_recording in review_texts(path).values() for text in of_recording)
    return sorted((from_json(Review, text, where=str(path)) for text in texts), key=lambda r: r.sequence)


def kept_review(text: str) -> Review:
    """A review from a row of our own, which was checked when stored: five times as fast as a foreign one."""
    try:
        plain = json.loads(text)
        plain["judged"] = _part(plain["judged"]) if plain["judged"] is not None else None
        plain["becomes"] = tuple(map(_part, plain["becomes"]))
        plain["around"] = tuple(Turn(**turn) for turn in plain["around"])
        return Review(**plain)
    except (TypeError, KeyError):  # written by a version whose items had other fields
        return from_json(Review, text, where=REVIEWS_FILE)


def _part(plain: dict[str, Any]) -> Judged:
    if plain["cue"] is not None:
        cue = plain["cue"]
        return Judged(cue=Cue(**{**cue, "spans": tuple(CueSpan(**span) for span in cue["spans"])}))
    if plain["word"] is not None:
        return Judged(word=Word(**plain["word"]))
    return (
        Judged(turn=Turn(**plain["turn"])) if plain["turn"] is not None else Judged(speaker=plain["speaker"])
    )
