"""Segments become shards, their index, a card and a manifest: a whole dataset, or none at all.

The order on the disk makes it safe to be killed anywhere:

    manifest.json away -> shards, each by rename -> strays away -> clips.parquet -> README.md -> manifest.json

Without manifest.json there is no dataset. What is whole already is kept on the next run.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from corpus.schemas.clip import CLIP_FORM
from corpus.schemas.codec import digest, from_json, to_json
from corpus.schemas.dataset import SPLITS, FileEntry, Manifest, ShardEntry, promised_sizes
from corpus.schemas.errors import FormatError, NewerSchemaError
from corpus.schemas.files import (
    TEMPORARY,
    has_size,
    put_in_place,
    sha256_file,
    storage_errors,
    temporary,
    write_whole,
)
from corpus.schemas.settings import Settings
from corpus.shards.card import dataset_card
from corpus.shards.columns import ClipRow, rows_table, table_rows
from corpus.shards.copy import sha256_if_same, write_shard
from corpus.shards.plan import Piece, SegmentRef, ShardPlan, plan_shards, segment_pieces

MANIFEST_FILE = "manifest.json"
CLIPS_FILE = "clips.parquet"
CARD_FILE = "README.md"
_CHUNK = 1 << 20

Progress = Callable[[int], None]
"""Gets the bytes of shards that are in place so far."""


def write_dataset(
    out: Path,
    segments: Sequence[SegmentRef],
    *,
    settings: Settings,
    config: str,
    doubted: Set[str] = frozenset(),
    progress: Progress | None = None,
) -> Manifest:
    """Make `out` hold exactly the clips of `segments`, in key order, closed at `shard_bytes`.

    Shards that hold the same clips already are not touched, shards of an older build are removed, and
    with nothing changed at all nothing is read but the manifest. Shards whose paths are `doubted` are read
    and held to the hashes of their clips, whatever their size says.

    Raises:
        DatasetError: two segments of one recording, or a segment that is cut off.
        NewerSchemaError: `out` was written by a newer version.
        StorageError: disk full or folder read-only.
    """
    ordered = sorted(segments, key=lambda s: s.recording)
    made_of = digest([[s.recording, s.split, s.digest] for s in ordered])
    wanted = Wanted(settings=settings, config=config, segments=made_of)
    old = read_manifest(out)
    if old is not None and not doubted and wanted.is_met_by(old, out):
        return old
    pieces = [piece for segment in ordered for piece in segment_pieces(segment)]
    with storage_errors(out):
        return _store(out, pieces, wanted, old, progress, doubted=doubted)


def read_manifest(out: Path) -> Manifest | None:
    """The manifest of a dataset; None where there is none or it is broken."""
    path = out / MANIFEST_FILE
    try:
        return from_json(Manifest, path.read_bytes(), where=str(path))
    except NewerSchemaError:
        raise
    except (OSError, FormatError):
        return None


def read_rows(out: Path) -> list[ClipRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = out / CLIPS_FILE
    try:
        return list(table_rows(pq.read_table(path), where=str(path)))
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"clips.parquet cannot be read: {error}", where=str(path)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the manifest will say beside the files."""

    settings: Settings
    config: str
    segments: str

    def is_met_by(self, old: Manifest, out: Path) -> bool:
        same = (old.settings, old.config, old.segments) == (
            to_json(self.settings),
            self.config,
            self.segments,
        )
        return same and all(has_size(out / path, size) for path, size in promised_sizes(old).items())

    def manifest(
        self, rows: Sequence[ClipRow], shards: Sequence[ShardEntry], files: Sequence[FileEntry]
    ) -> Manifest:
        return Manifest(
            config=self.config,
            settings=to_json(self.settings),
            clip_schema=CLIP_FORM,
            segments=self.segments,
            recordings=len({row.recording for row in rows}),
            clips=len(rows),
            windows=sum(row.windows for row in rows),
            shards=tuple(shards),
            files=tuple(files),
        )


def _store(
    out: Path,
    pieces: Sequence[Piece],
    wanted: Wanted,
    old: Manifest | None,
    progress: Progress | None,
    *,
    doubted: Set[str] = frozenset(),
) -> Manifest:
    """Bring the folder to the plan."""
    plans = list(plan_shards(pieces, wanted.settings.shards.shard_bytes))
    known = known_shards(out, old)
    _take_away(out / MANIFEST_FILE)
    entries: list[ShardEntry] = []
    done = 0
    for plan in plans:
        path = out / plan.path
        sha256 = kept_sha256(path, plan, None if plan.path in doubted else known)
        if sha256 is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            sha256 = write_shard(temporary(path), plan)
            put_in_place(path)
        entries.append(entry_of(plan, sha256))
        done += plan.bytes
        if progress:
            progress(done)
    remove_strays(out, {plan.path for plan in plans})
    return finish_dataset(out, [row for plan in plans for row in plan.rows()], entries, wanted)


def known_shards(out: Path, old: Manifest | None) -> dict[tuple[str, ...], ShardEntry] | None:
    """By the clips they hold, the shards an unbroken dataset vouches for; None where none does."""
    if old is None:
        return None
    try:
        rows = read_rows(out)
    except FormatError:
        return None
    entries = {entry.path: entry for entry in old.shards}
    return {
        tuple(row.sha256 for row in group): entries[path]
        for path, group in groupby(rows, key=lambda row: row.shard)
        if path in entries
    }


def kept_sha256(path: Path, plan: ShardPlan, known: dict[tuple[str, ...], ShardEntry] | None) -> str | None:
    """The sha256 of the shard that stands there already, if it holds the plan's bytes."""
    if not has_size(path, plan.bytes):
        return None
    if known is not None:
        entry = known.get(plan.clips)
        return entry.sha256 if entry and entry.path == plan.path else None
    return sha256_if_same(path, plan)


def entry_of(plan: ShardPlan, sha256: str) -> ShardEntry:
    return ShardEntry(
        path=plan.path,
        split=plan.split,
        sha256=sha256,
        bytes=plan.bytes,
        clips=len(plan.pieces),
        windows=sum(piece.row.windows for piece in plan.pieces),
    )


def _take_away(path: Path) -> None:
    path.unlink(missing_ok=True)


def remove_strays(out: Path, wanted: set[str]) -> None:
    """Shards of an older build, and what an interrupted run left unfinished."""
    for split in SPLITS:
        folder = out / split
        for path in sorted(folder.glob(f"{split}-*.tar")) + sorted(folder.glob(f"*{TEMPORARY}")):
            if f"{split}/{path.name}" not in wanted:
                path.unlink()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def finish_dataset(
    out: Path, rows: Sequence[ClipRow], entries: Sequence[ShardEntry], wanted: Wanted
) -> Manifest:
    """The index and the card, then the manifest that makes it a dataset."""
    import pyarrow.parquet as pq

    out.mkdir(parents=True, exist_ok=True)
    table = io.BytesIO()
    pq.write_table(rows_table(rows), table, compression="zstd", row_group_size=16384)
    write_whole(out / CLIPS_FILE, table.getvalue())
    write_whole(out / CARD_FILE, dataset_card(entries, rows, wanted.config).encode())
    files = [
        FileEntry(path=name, sha256=sha256_file(out / name), bytes=(out / name).stat().st_size)
        for name in (CARD_FILE, CLIPS_FILE)
    ]
    manifest = wanted.manifest(rows, entries, files)
    write_whole(out / MANIFEST_FILE, (to_json(manifest, indent=1) + "\n").encode())
    return manifest
