"""Reviews out of the store and into it: Parquet, CSV, JSON lines."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

from corpus.review.labels import LABELS_FILE
from corpus.review.store import opened
from corpus.schemas.agreement import AgreementReport, agreement
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import FormatError, LockedError, UsageError
from corpus.schemas.files import storage_errors, write_whole
from corpus.schemas.review import Review
from corpus.schemas.reviews_file import REVIEWS_FILE, read_reviews
from corpus.schemas.votes import groups, span_of, speaker_of

CSV_COLUMNS = (
    "sequence", "id", "recording", "item", "about", "verdict", "annotator", "role", "draw", "label", "kind",
    "speaker",
    "start_us", "stop_us", "text", "note", "decided_at_us", "spent_ms", "undoes",
)  # fmt: skip


def kept_reviews(out: Path) -> list[Review]:
    """All reviews of a dataset: from the store, or from the Parquet while a server has the store."""
    if not (out / LABELS_FILE).exists():
        return []
    try:
        with opened(out) as store:
            return store.reviews()
    except LockedError:
        path = out / REVIEWS_FILE
        return read_reviews(path) if path.exists() else []


def agreement_of(out: Path) -> AgreementReport:
    by_recording: dict[str, list[Review]] = defaultdict(list)
    for review in kept_reviews(out):
        by_recording[review.recording].append(review)
    return agreement([group for rows in by_recording.values() for group in groups(rows, ())])


def export_reviews(out: Path, file: Path) -> int:
    """Write all reviews in the form that the file's ending names; how many.

    Raises:
        UsageError: an ending nobody knows.
    """
    reviews = kept_reviews(out)
    ending = file.suffix.lower()
    if ending == ".parquet":
        if not (out / REVIEWS_FILE).exists():
            with opened(out):
                pass
        content = (out / REVIEWS_FILE).read_bytes()
    elif ending in (".jsonl", ".ndjson"):
        content = "".join(to_json(review) + "\n" for review in reviews).encode()
    elif ending == ".csv":
        content = _csv(reviews).encode()
    else:
        raise UsageError(
            f"{ending or 'no ending'}: no form of reviews", todo="name it .parquet, .csv or .jsonl"
        )
    with storage_errors(file):
        write_whole(file, content)
    return len(reviews)


def _csv(reviews: list[Review]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for review in reviews:
        part = review.becomes[0] if review.becomes else review.judged
        span = span_of(part) if part is not None else None
        cue = part.cue if part is not None else None
        writer.writerow(
            (
                review.sequence, review.id, review.recording, review.item, review.about, review.verdict,
                review.annotator, review.role, review.draw, cue.label if cue else "", cue.kind if cue else "",
                (speaker_of(part) or "") if part is not None else "",
                *((span.start_us, span.stop_us) if span is not None else ("", "")),
                part.word.text if part is not None and part.word is not None else "",
                review.note, review.decided_at_us, review.spent_ms, review.undoes,
            )
        )  # fmt: skip
    return text.getvalue()


def import_reviews(out: Path, file: Path) -> int:
    """Add the reviews of a file to the store of a dataset, each id once; how many were new.

    Raises:
        FormatError: the file holds no reviews.
        LockedError: a server has the store open.
    """
    ending = file.suffix.lower()
    if ending == ".parquet":
        reviews = read_reviews(file)
    elif ending in (".jsonl", ".ndjson"):
        lines = file.read_text(encoding="utf-8").splitlines()
        reviews = [
            from_json(Review, line, where=f"{file}, line {n}")
            for n, line in enumerate(lines, 1)
            if line.strip()
        ]
    else:
        raise FormatError("reviews are read from .parquet and .jsonl", where=str(file))
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with opened(out) as store:
        before = store.sequence
        store.add(reviews)
        return store.sequence - before
