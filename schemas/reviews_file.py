"""reviews.parquet: what a build reads of the annotators' decisions. The review server writes it by rename."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from corpus.schemas.codec import from_json
from corpus.schemas.errors import FormatError
from corpus.schemas.review import Review

REVIEWS_FILE = "reviews.parquet"
SEQUENCE_KEY = "corpus.last_sequence"


def last_sequence(out: Path) -> int:
    """The number of the last review in OUT/reviews.parquet; 0 where there is none."""
    import pyarrow.parquet as pq

    try:
        found = pq.read_schema(out / REVIEWS_FILE).metadata or {}
    except (OSError, ValueError):
        return 0
    return int(found.get(SEQUENCE_KEY.encode(), b"0"))


def review_texts(path: Path) -> dict[str, tuple[str, ...]]:
    """All reviews of a Parquet file as JSON, by recording, in their order.

    Raises:
        FormatError: not such a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["recording_id", "review"])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise FormatError(f"holds no reviews: {error}", where=str(path)) from error
    found: dict[str, list[str]] = defaultdict(list)
    for recording, text in zip(table["recording_id"].to_pylist(), table["review"].to_pylist(), strict=True):
        found[recording].append(text)
    return {recording: tuple(texts) for recording, texts in found.items()}


def read_reviews(path: Path) -> list[Review]:
    """All reviews of a Parquet file, in the order of their numbers.

    Raises:
        FormatError: not such a file.
        NewerSchemaError: written by a newer version.
    """
    texts = (text for found in review_texts(path).values() for text in found)
    return sorted((from_json(Review, text, where=str(path)) for text in texts), key=lambda r: r.sequence)
