"""Detecting whether anything that determines a build has changed, without opening a file."""

from __future__ import annotations

from collections.abc import Sequence

from corpus.pipeline.bundles import Bundle, look
from corpus.pipeline.request import Request
from corpus.pipeline.versions import all_versions
from corpus.schemas.codec import digest, to_plain
from corpus.schemas.reviews_file import REVIEWS_FILE


def quick_key(bundles: Sequence[Bundle], request: Request) -> str:
    """Digest of paths, sizes and times of all inputs, the settings and the versions."""
    looks = [bundle.look for bundle in bundles]
    reviews = look(str(request.out / REVIEWS_FILE))
    # Versions too: after an upgrade nothing is "unchanged".
    return digest([looks, reviews, to_plain(request.settings), all_versions()])
