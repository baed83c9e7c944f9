"""Write files beside a dataset and move them in together: readers see the old dataset or the new one.

OUT/.rewrite/   train/train-000000.tar …    the new files, under their paths in OUT
                swap.json                   the journal: what is to be moved

Before swap.json exists OUT is unchanged; once it does, the next command that opens OUT finishes the move.
The manifest is removed first and moved in last, so nobody reads a mixture meanwhile.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.dataset import CARD_FILE, CLIPS_FILE, MANIFEST_FILE, SPLITS, Manifest
from corpus.schemas.files import TEMPORARY, storage_errors, sync_file, sync_folder, write_whole

FOLDER = ".rewrite"
_SWAP_FILE = "swap.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Swap:
    """The files that a swap moves, and the shards that exist after it."""

    moves: tuple[str, ...]
    """Paths below the dataset's folder, the manifest last."""
    shards: tuple[str, ...]


def begin_staging(out: Path) -> Path:
    """An empty staging folder; an interrupted swap is finished first, an incomplete staging discarded."""
    folder = out / FOLDER
    with storage_errors(folder):
        if not finish_swap(out):
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
    return folder


def swap(out: Path, beside: Iterable[str] = ()) -> None:
    """Move the staged dataset into place, with the files `beside` that the caller put there.

    A failed move is tried once more: after the journal is written there is no way back.
    """
    folder = out / FOLDER
    shards = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.tar"))
    wanted = from_json(Manifest, (folder / MANIFEST_FILE).read_bytes(), where=str(folder / MANIFEST_FILE))
    journal = _Swap(
        moves=(*shards, CLIPS_FILE, CARD_FILE, *beside, MANIFEST_FILE),
        shards=tuple(entry.path for entry in wanted.shards),
    )
    with storage_errors(folder):
        # Everything must be on the disk before the journal promises it.
        for name in journal.moves:
            sync_file(folder / name)
        for parent in {(folder / name).parent for name in journal.moves}:
            sync_folder(parent)
        write_whole(folder / _SWAP_FILE, to_json(journal).encode())
        try:
            finish_swap(out)
        except OSError:
            finish_swap(out)


def finish_swap(out: Path) -> bool:
    """Finish an interrupted swap; False if there was none."""
    folder = out / FOLDER
    try:
        text = (folder / _SWAP_FILE).read_bytes()
    except FileNotFoundError:
        return False
    journal = from_json(_Swap, text, where=str(folder / _SWAP_FILE))
    # Once the new manifest has moved, what is left to do does not need the old one removed again.
    if (folder / MANIFEST_FILE).exists():
        (out / MANIFEST_FILE).unlink(missing_ok=True)
        sync_folder(out)
    for name in journal.moves:
        if (folder / name).exists():  # else it was moved before the interruption
            (out / name).parent.mkdir(exist_ok=True)
            if name == MANIFEST_FILE:
                _remove_strays(out, set(journal.shards))
            os.replace(folder / name, out / name)
        sync_folder((out / name).parent)
    (folder / _SWAP_FILE).unlink()
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _remove_strays(out: Path, wanted: Set[str]) -> None:
    """Remove shards of an older build, and unfinished files of an interrupted run."""
    for split in SPLITS:
        folder = out / split
        for path in sorted(folder.glob(f"{split}-*.tar")) + sorted(folder.glob(f"*{TEMPORARY}")):
            if f"{split}/{path.name}" not in wanted:
                path.unlink()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
