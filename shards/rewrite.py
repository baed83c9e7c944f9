"""Replacing some clips of a dataset, all or none, even if the process is killed.

OUT/.rewrite/new.tar holds the changed clips; shards written from it are staged and moved into place by
`swap`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from corpus.schemas.clip import MEMBERS, ClipHead
from corpus.schemas.codec import to_json
from corpus.schemas.dataset import Manifest
from corpus.schemas.errors import DatasetError
from corpus.schemas.files import storage_errors
from corpus.schemas.settings import Settings
from corpus.shards.columns import ClipRow
from corpus.shards.old import Old
from corpus.shards.plan import Piece, Pieces
from corpus.shards.planning import plan_pieces
from corpus.shards.read import Clip
from corpus.shards.row import append_clip
from corpus.shards.shard_task import ShardWriter
from corpus.shards.write import Wanted, stage_planned

NEW_FILE = "new.tar"


def append_head(tar: BinaryIO, clip: Clip, row: ClipRow, head: ClipHead) -> ClipRow:
    """Append the clip with another head to `tar`; returns its row, with the head's counts of labels."""
    # Only the head changes; sound, mel and pictures are copied byte for byte.
    others = [bytes(clip.member(name)) for name in MEMBERS[1:]]
    place = append_clip(tar, tar.tell(), row.key, [to_json(head).encode(), *others])
    moved: dict[str, Any] = dataclasses.asdict(place)
    return dataclasses.replace(row, cues=len(head.cues), events=len(head.events), config=head.config, **moved)


def stage_rewrite(
    out: Path, new: Sequence[Piece], *, settings: Settings, config: str, writer: ShardWriter | None = None
) -> Manifest:
    """Write the changed files of the dataset beside it: shards, index, card and manifest.

    Raises:
        DatasetError: `out` holds no dataset.
        StorageError: disk full or folder read-only.
    """
    with storage_errors(out):
        old = Old.read(out, frozenset())
        if old is None:
            raise DatasetError("no dataset to change", where=str(out), todo="run corpus build first")
        kept = old.without([piece.row.key for piece in new])
        wanted = Wanted(settings=settings, config=config, segments="")
        planned = plan_pieces(out, old, kept, Pieces.of(new), settings.shards.shard_bytes, config)
        return stage_planned(out, planned, wanted, writer or ShardWriter())
