"""The dataset that a folder holds before it is rewritten."""

from __future__ import annotations

from collections.abc import Sequence, Set
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
from corpus.shards.shard_task import clips_digest

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
        manifest = read_manifest(out)
        if manifest is None:
            return None
        promised = {entry.path: entry.sha256 for entry in manifest.files}
        try:
            if sha256_file(inside(out, CLIPS_FILE)) != promised.get(CLIPS_FILE):
                return None
            rows = IndexRows(inside(out, CLIPS_FILE))
            if not rows.is_complete:
                return None
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
        for entry in manifest.shards:
            inside(out, entry.path)
        entries = {entry.path: entry for entry in manifest.shards if entry.path not in doubted}
        known = {digest: entries[path] for path, digest in _digests(table) if path in entries}
        return Old(manifest=manifest, placing=table, rows=rows, known=known)

    def is_sound(self, out: Path) -> bool:
        """Whether all shards are trusted and as long as the manifest says."""
        return self._sound(out) == {entry.path for entry in self.manifest.shards}

    def standing(self, out: Path, recordings: Sequence[str]) -> frozenset[str]:
        """Those of these recordings that have clips, all of them in trusted shards."""
        import pyarrow as pa
        import pyarrow.compute as pc

        asked = pa.array(recordings, pa.string())
        own = self.placing.filter(pc.is_in(self.placing["recording"].cast(pa.string()), asked))
        # Each recording lies in a shard or two: a million rows are few pairs.
        pairs = own.group_by(["recording", "shard"]).aggregate([])
        owners, shards, sound = texts(pairs["recording"]), texts(pairs["shard"]), self._sound(out)
        broken = {owner for owner, shard in zip(owners, shards, strict=True) if shard not in sound}
        return frozenset(owners) - broken

    def _sound(self, out: Path) -> set[str]:
        return {entry.path for entry in self.known.values() if has_size(out / entry.path, entry.bytes)}

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
