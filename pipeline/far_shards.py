"""Stand-ins in the work folder for shards at a URL, so that a build sees them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from corpus.schemas.dataset import SPLITS, Manifest
from corpus.schemas.files import has_size, storage_errors
from corpus.shards.stand_in import is_stand_in, stand_in


def place_stand_ins(work: Path, manifest: Manifest, far: Mapping[str, str]) -> None:
    """Make the work folder look as if it held those shards of its manifest that are in the store.

    `far` holds the paths there by sha256. A shard missing in both is remade by the build.
    """
    for entry in manifest.shards:
        path = work / entry.path
        if entry.sha256 in far and not has_size(path, entry.bytes):
            stand_in(path, entry.bytes)
        elif entry.sha256 not in far and is_stand_in(path):
            path.unlink()


def forget_shards(work: Path) -> None:
    """Remove every shard from the work folder."""
    with storage_errors(work):
        for path in [path for split in SPLITS for path in (work / split).glob("*.tar")]:
            path.unlink()
