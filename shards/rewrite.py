"""Some clips of a dataset replaced, whole or not at all, whenever the machine is killed.

OUT/.rewrite/   new.tar                                     the clips that change
                train/train-000000.tar …                    the shards that hold one of them
                clips.parquet README.md manifest.json …     what goes with them
                swap.json                                   what is to be moved into OUT

Until swap.json stands there OUT is as it was; from then on whoever comes next finishes the moving. Without
a manifest.json, which is moved last, nobody reads a mixture.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from corpus.schemas.clip import MEMBERS, ClipHead
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.dataset import Manifest, ShardEntry
from corpus.schemas.errors import DatasetError
from corpus.schemas.files import storage_errors, sync_file, sync_folder, write_whole
from corpus.schemas.settings import Settings
from corpus.shards.columns import ClipRow
from corpus.shards.copy import write_shard
from corpus.shards.plan import Piece, plan_shards
from corpus.shards.read import Clip
from corpus.shards.row import append_clip
from corpus.shards.write import (
    CARD_FILE,
    CLIPS_FILE,
    MANIFEST_FILE,
    Wanted,
    entry_of,
    finish_dataset,
    kept_sha256,
    known_shards,
    read_manifest,
    read_rows,
    remove_strays,
)

FOLDER = ".rewrite"
NEW_FILE = "new.tar"
SWAP_FILE = "swap.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """What a swap moves into place, and the shards there are after it."""

    moves: tuple[str, ...]
    """Paths below the dataset's folder."""
    shards: tuple[str, ...]


def begin_rewrite(out: Path) -> Path:
    """An empty folder for the rewrite, after one that was interrupted is finished or thrown away."""
    folder = out / FOLDER
    with storage_errors(folder):
        if not finish_swap(out):
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    return folder


def append_head(tar: BinaryIO, clip: Clip, row: ClipRow, head: ClipHead) -> ClipRow:
    """The clip with another head at the end of `tar`; its row, with the head's count of labels."""
    others = [bytes(clip.member(name)) for name in MEMBERS[1:]]
    place = append_clip(tar, tar.tell(), row.key, [to_json(head).encode(), *others])
    moved: dict[str, Any] = dataclasses.asdict(place)
    return dataclasses.replace(row, cues=len(head.cues), events=len(head.events), config=head.config, **moved)


def stage_rewrite(out: Path, new: Sequence[Piece], *, settings: Settings, config: str) -> Manifest:
    """Write what changes of the dataset, beside it: shards, index, card and manifest.

    Raises:
        DatasetError: `out` holds no dataset.
        StorageError: disk full or folder read-only.
    """
    old, folder = read_manifest(out), out / FOLDER
    if old is None:
        raise DatasetError("no dataset to change", where=str(out), todo="run corpus build first")
    gone = {piece.row.key for piece in new}
    kept = [Piece(row=row, file=out / row.shard) for row in read_rows(out) if row.key not in gone]
    known = known_shards(out, old)
    entries: list[ShardEntry] = []
    rows: list[ClipRow] = []
    with storage_errors(folder):
        for plan in plan_shards([*kept, *new], settings.shards.shard_bytes):
            sha256 = kept_sha256(out / plan.path, plan, known)
            if sha256 is None:
                path = folder / plan.path
                path.parent.mkdir(parents=True, exist_ok=True)
                sha256 = write_shard(path, plan)
            entries.append(entry_of(plan, sha256))
            rows += plan.rows()
        return finish_dataset(folder, rows, entries, Wanted(settings=settings, config=config, segments=""))


def swap(out: Path, beside: Iterable[str] = ()) -> None:
    """Move what was staged into place, with the files `beside` that the caller put there."""
    folder = out / FOLDER
    shards = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.tar"))
    wanted = from_json(Manifest, (folder / MANIFEST_FILE).read_bytes(), where=str(folder / MANIFEST_FILE))
    told = Swap(
        moves=(*shards, CLIPS_FILE, CARD_FILE, *beside, MANIFEST_FILE),
        shards=tuple(entry.path for entry in wanted.shards),
    )
    with storage_errors(folder):
        for name in told.moves:
            sync_file(folder / name)
        for place in {(folder / name).parent for name in told.moves}:
            sync_folder(place)
        write_whole(folder / SWAP_FILE, to_json(told).encode())
        finish_swap(out)


def finish_swap(out: Path) -> bool:
    """Finish a swap that was begun; false where none was."""
    folder = out / FOLDER
    try:
        text = (folder / SWAP_FILE).read_bytes()
    except OSError:
        return False
    told = from_json(Swap, text, where=str(folder / SWAP_FILE))
    if (folder / MANIFEST_FILE).exists():
        (out / MANIFEST_FILE).unlink(missing_ok=True)
        sync_folder(out)
    for name in told.moves:
        if (folder / name).exists():
            (out / name).parent.mkdir(exist_ok=True)
            if name == MANIFEST_FILE:
                remove_strays(out, set(told.shards))
            os.replace(folder / name, out / name)
            sync_folder((out / name).parent)
    shutil.rmtree(folder)
    return True
