"""What a dataset that stands there is known by: its files' digests, and what it is to be made of."""

from __future__ import annotations

from pathlib import Path

from corpus.pipeline.memory import Stamp
from corpus.pipeline.published import catalog_sha256, sha256_or_none
from corpus.pipeline.request import Request
from corpus.pipeline.versions import config_of
from corpus.schemas.codec import digest, to_plain
from corpus.schemas.dataset import MANIFEST_FILE
from corpus.schemas.reviews_file import REVIEWS_FILE


def stamp_now(folder: Path, request: Request) -> Stamp:
    """The dataset in OUT, whose state folder this is, and what the request makes it of besides the inputs."""
    return Stamp(
        config=config_of(request.settings),
        manifest_sha256=sha256_or_none(request.out / MANIFEST_FILE),
        catalog_sha256=catalog_sha256(folder, request.out),
        settings=digest(to_plain(request.settings)),
        reviews=sha256_or_none(request.out / REVIEWS_FILE),
    )
