"""The dataset that a folder holds before it is rewritten."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from corpus.schemas.codec import from_json
from corpus.schemas.dataset import CLIPS_FILE, MANIFEST_FILE, Manifest, ShardEntry
from corpus.schemas.errors import FormatError, NewerSchemaError
from corpus.schemas.files import has_size, inside, sha256_file
from corpus.shards.columns import arrow_schema
from corpus.shards.index import ints, texts
from corpus.shards.index_rows import IndexRows, taken
from corpus.shards.layout import Kept
from corpus.shards.plan import PLACING, joined, placing

if TYPE_CHECKING:
    import pyarrow as pa


def read_manifest(out: Path) -> Manifest | None:
    """The manifest of a dataset; None if it is missing or damaged."""
    path = out / MANIFEST_FILE
    try:
        return from_json(Manifest, inside(out, MANIFEST_FILE).read_bytes(), where=str(path))
    except NewerSchemaError:
        raise
    except (OSError, FormatError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intact:
    """A dataset whose index is as the manifest says; its rows have not been read."""

    out: Path
    manifest: Manifest
    doubted: Set[str]

    @staticmethod
    def read(out: Path, doubted: Set[str]) -> Intact | None:
        """Look at the dataset; None if there is no intact one."""
        manifest = _manifest_of(out, doubted)
        return Intact(out=out, manifest=manifest, doubted=doubted) if manifest is not None else None

    @property
    def is_sound(self) -> bool:
        """Whether all shards are trusted and as long as the manifest says."""
        shards = self.manifest.shards
        return all(s.path not in self.doubted and has_size(self.out / s.path, s.bytes) for s in shards)

    def standing(self, recordings: Sequence[str]) -> frozenset[str]:
        """Those of these recordings, which the dataset holds, that have no clip in a shard that is not
        trusted."""
        if self.is_sound:
            return frozenset(recordings)
        old = Old.read(self.out, self.doubted)
        return old.standing(self.out, recordings) if old is not None else frozenset()


def _manifest_of(out: Path, doubted: Set[str]) -> Manifest | None:
    """The manifest, if the index is the one it names and no column of it is missing."""
    manifest = read_manifest(out)
    if manifest is None or CLIPS_FILE in doubted:
        return None
    promised = {entry.path: entry.sha256 for entry in manifest.files}
    try:
        if sha256_file(inside(out, CLIPS_FILE)) != promised.get(CLIPS_FILE):
            return None
        if not IndexRows(inside(out, CLIPS_FILE)).is_complete:
            return None
    except (OSError, FormatError):
        return None
    for entry in manifest.shards:
        inside(out, entry.path)
    return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """An unbroken dataset: what places its clips, and its index, open."""

    manifest: Manifest
    placing: pa.Table
    """Of `placing`, and the clips' shards."""
    rows: IndexRows
    known: dict[bytes, ShardEntry]
    """Shards confirmed by the manifest, by a digest of their clips."""

    @staticmethod
    def read(out: Path, doubted: Set[str]) -> Old | None:
        """Read the dataset; None if there is no intact one."""
        manifest = _manifest_of(out, doubted)
        if manifest is None:
            return None
        try:
            rows = IndexRows(inside(out, CLIPS_FILE))
            empty = placing(arrow_schema().empty_table(), "shard")
            # The other columns are read when they are written.
            groups = rows.groups((*PLACING, "shard"))
            table = joined([empty, *(placing(group, "shard") for group in groups)])
        except (OSError, FormatError):
            return None
        named = {(entry.path, entry.split) for entry in manifest.shards}
        there = table.group_by(["shard", "split"]).aggregate([])
        if not named.issuperset(zip(texts(there["shard"]), texts(there["split"]), strict=True)):
            return None
        if not _lie_in_shards(table, manifest):
            return None
        entries = {entry.path: entry for entry in manifest.shards if entry.path not in doubted}
        known = {digest: entries[path] for path, digest in _digests(table) if path in entries}
        return Old(manifest=manifest, placing=table, rows=rows, known=known)

    def standing(self, out: Path, recordings: Sequence[str]) -> frozenset[str]:
        """Those of these recordings that have clips, all of them in trusted shards."""
        import pyarrow as pa
        import pyarrow.compute as pc

        asked = pa.array(recordings, pa.string())
        own = self.placing.filter(pc.is_in(self.placing["recording"].cast(pa.string()), asked))
        # Each recording lies in a shard or two: a million rows are few pairs.
        pairs = own.group_by(["recording", "shard"]).aggregate([])
        sound = {entry.path for entry in self.known.values() if has_size(out / entry.path, entry.bytes)}
        owners, shards = texts(pairs["recording"]), texts(pairs["shard"])
        broken = {owner for owner, shard in zip(owners, shards, strict=True) if shard not in sound}
        return frozenset(owners) - broken

    def without_recordings(self, gone: Sequence[str]) -> Kept:
        """All clips but those of these recordings."""
        import pyarrow as pa
        import pyarrow.compute as pc

        whole = self.placing["recording"].combine_chunks()
        leaves = pc.is_in(whole.dictionary, pa.array(gone, pa.string()))
        stays = ~np.asarray(leaves.to_numpy(zero_copy_only=False), bool)
        return self._kept(stays[np.asarray(whole.indices.to_numpy(), np.int64)])

    def without(self, keys: Sequence[str]) -> Kept:
        """All clips but these."""
        import pyarrow as pa
        import pyarrow.compute as pc

        gone = pc.is_in(self.placing["key"].combine_chunks(), pa.array(keys, pa.string()))
        return self._kept(~np.asarray(gone.to_numpy(zero_copy_only=False), bool))

    def _kept(self, wanted: npt.NDArray[np.bool_]) -> Kept:
        numbers = np.flatnonzero(wanted)
        return Kept(placing=taken(self.placing, numbers), rows=self.rows, numbers=numbers)


def _lie_in_shards(table: pa.Table, manifest: Manifest) -> bool:
    """Whether every clip has windows, and its bytes lie in its shard: the index may be a stranger's."""
    shards = table["shard"].combine_chunks()
    sizes = {entry.path: entry.bytes for entry in manifest.shards}
    ends = np.array([sizes[name] for name in shards.dictionary.to_pylist()], np.int64)
    here = ends[np.asarray(shards.indices.to_numpy(), np.int64)]
    size, offset = ints(table["size"]), ints(table["offset"])
    lie = (size > 0) & (offset >= 0) & (size <= here) & (offset <= here - size)
    return bool(np.all(lie & (ints(table["windows"]) > 0)))


def clips_digest(sha256s: Iterable[str]) -> bytes:
    """Digest of a shard's clips, known before the shard is written."""
    hasher = hashlib.sha256()
    for sha256 in sha256s:
        hasher.update(sha256.encode())
        hasher.update(b" ")
    return hasher.digest()


def _digests(table: pa.Table) -> list[tuple[str, bytes]]:
    """Every shard with the digest of its clips."""
    shards = table["shard"].combine_chunks()
    codes = np.asarray(shards.indices.to_numpy(), np.int64)
    names, sha256s = shards.dictionary.to_pylist(), table["sha256"]
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]])
    return [
        (names[codes[start]], clips_digest(texts(sha256s.slice(start, stop - start))))
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        if stop > start
    ]
