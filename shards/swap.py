"""Moving files staged beside a dataset into it together: it is the old dataset or the new one, never a
mixture.

OUT/.rewrite/   train/train-000000.tar …    the new files, under their paths in OUT
                swap.json                   the files to move

Until swap.json exists, OUT is unchanged; after that, the next process finishes the move if this one does not.
Nobody reads a mixture, because manifest.json is removed first and moved into place last.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.dataset import CARD_FILE, CLIPS_FILE, MANIFEST_FILE, SPLITS, Manifest, is_shard_name
from corpus.schemas.errors import DatasetError, FormatError
from corpus.schemas.files import (
    TEMPORARY,
    is_inside_name,
    storage_errors,
    sync_file,
    sync_folder,
    write_whole,
)

FOLDER = ".rewrite"
_SWAP_FILE = "swap.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Swap:
    """What a swap moves into place, and the shards there are after it."""

    moves: tuple[str, ...]
    """Paths below the dataset's folder, the manifest last."""
    shards: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in (*self.moves, *self.shards):
            if not is_inside_name(name):
                raise ValueError(f"{name!r} is not a path inside the dataset")


def begin_staging(out: Path) -> Path:
    """An empty staging folder, after finishing an interrupted swap or discarding its files."""
    folder = out / FOLDER
    with storage_errors(folder):
        if not finish_swap(out):
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
    return folder


def swap(out: Path, beside: Iterable[str] = ()) -> None:
    """Move the staged dataset into place, with the files `beside` that the caller put there.

    A failed step is retried once: after the journal is written there is no way back.
    """
    folder = out / FOLDER
    shards = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.tar"))
    wanted = from_json(Manifest, (folder / MANIFEST_FILE).read_bytes(), where=str(folder / MANIFEST_FILE))
    journal = _Swap(
        moves=(*shards, CLIPS_FILE, CARD_FILE, *beside, MANIFEST_FILE),
        shards=tuple(entry.path for entry in wanted.shards),
    )
    _refuse_folders(out, journal.moves)
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
    """Finish an interrupted swap; false if there was none."""
    _refuse_linked_folders(out)
    folder = out / FOLDER
    try:
        text = (folder / _SWAP_FILE).read_bytes()
    except FileNotFoundError:
        return False
    try:
        journal = from_json(_Swap, text, where=str(folder / _SWAP_FILE))
    except FormatError as error:
        todo = f"remove {folder} and build again"
        raise DatasetError(f"the record of an interrupted build is damaged: {error.what}", where=error.where,
                           todo=todo) from error  # fmt: skip
    _refuse_folders(out, journal.moves)
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


def _refuse_linked_folders(out: Path) -> None:
    """Stop before anything is written through a link that somebody has put into the dataset.

    Raises:
        DatasetError: a folder of the dataset is a link.
    """
    for name in (FOLDER, *SPLITS):
        if (out / name).is_symlink():
            todo = "replace the link with the folder itself"
            raise DatasetError("is a link; a build writes into the dataset only", where=str(out / name),
                               todo=todo)  # fmt: skip


def _refuse_folders(out: Path, names: Iterable[str]) -> None:
    """Stop while the old dataset is whole: no file can take the place of a folder.

    Raises:
        DatasetError: there is a folder where a file of the dataset goes.
    """
    for name in names:
        if (out / name).is_dir():
            todo = "move it elsewhere, then run the same command again"
            what = "is a folder where a file of the dataset goes"
            raise DatasetError(what, where=str(out / name), todo=todo)


def _remove_strays(out: Path, wanted: Set[str]) -> None:
    """Shards of an older build, and what an interrupted run left unfinished."""
    for split in SPLITS:
        folder = out / split
        shards = [path for path in sorted(folder.glob("*.tar")) if is_shard_name(f"{split}/{path.name}")]
        for path in shards + sorted(folder.glob(f"*{TEMPORARY}")):
            if f"{split}/{path.name}" not in wanted:
                path.unlink()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
