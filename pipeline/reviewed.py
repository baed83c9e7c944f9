"""Applying annotators' reviews in a build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from corpus.schemas.codec import from_json
from corpus.schemas.conversation import Conversation
from corpus.schemas.drops import Drop
from corpus.schemas.review import Review
from corpus.schemas.reviews import Tally, apply_to_cues, apply_to_talk
from corpus.schemas.reviews_file import REVIEWS_FILE, review_texts

Texts = tuple[str, ...]
"""One recording's reviews as JSON, in the order they were made; parsed by the job that needs them."""


def texts_by_recording(out: Path) -> dict[str, Texts]:
    """The reviews in the dataset's folder.

    Raises:
        FormatError, NewerSchemaError: reviews.parquet cannot be read.
    """
    path = out / REVIEWS_FILE
    return review_texts(path) if path.exists() else {}


def renamed(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Old and new name of every speaker renamed in a review."""
    return [
        (review.judged.speaker, part.speaker)
        for review in _parsed(texts)
        if review.judged is not None and review.judged.speaker is not None
        for part in review.becomes
        if part.speaker is not None
    ]


def talk_as_decided(conversation: Conversation, texts: Texts) -> tuple[Conversation, list[Drop]]:
    """Apply reviews of speakers, turns and words, before voices and labels are made."""
    if not texts:
        return conversation, []
    decided, tally = apply_to_talk(conversation, _parsed(texts))
    return decided, _drops(tally, "words, turns or speakers")


def cues_as_decided(conversation: Conversation, texts: Texts) -> tuple[Conversation, list[Drop]]:
    """Apply reviews of cues, after the cues have been made."""
    if not texts:
        return conversation, []
    decided, tally = apply_to_cues(conversation, _parsed(texts))
    return decided, _drops(tally, "cues")


def _parsed(texts: Sequence[str]) -> list[Review]:
    return [from_json(Review, text, where=REVIEWS_FILE) for text in texts]


def _drops(tally: Tally, what: str) -> list[Drop]:
    """Reviews that changed nothing are not faults; they are kept, and counted in the report."""
    counted = {
        "review_tied": (
            tally.ties,
            f"as many annotators say one thing as another of {what}; adjudicate them",
        ),
        "review_unmatched": (tally.unmatched, f"reviews of {what} that are found no more; they are kept"),
        "review_refused": (
            tally.refused,
            f"reviews of {what} whose speaker is gone, or would be one voice too many; they are kept",
        ),
    }
    return [
        Drop(item="", stage="label", kind="trim", code=code, reason=reason, count=count)
        for code, (count, reason) in counted.items()
        if count
    ]
