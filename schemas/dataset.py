"""The forms of a whole dataset: its manifest, and the list of inputs it is built from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from corpus.schemas.files import is_inside_name

_MANIFEST_FORM = "corpus.manifest/1"
MANIFEST_FILE = "manifest.json"
CLIPS_FILE = "clips.parquet"
CARD_FILE = "README.md"
SPLITS = ("train", "validation", "test")
_SHARD = re.compile(rf"({'|'.join(SPLITS)})/\1-\d{{6,}}\.tar")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """One tar of the dataset."""

    path: str
    """Relative to the dataset's folder: `train/train-000000.tar`."""
    split: str
    sha256: str
    bytes: int
    clips: int
    windows: int

    def __post_init__(self) -> None:
        _check_entry(self.path, self.sha256, self.bytes)
        if self.split not in SPLITS:
            raise ValueError(f"{self.split!r} is not a split; use one of {', '.join(SPLITS)}")
        if min(self.clips, self.windows) < 0:
            raise ValueError(f"{self.path} cannot hold {self.clips} clips and {self.windows} windows")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One other file whose bytes the manifest guarantees."""

    path: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        _check_entry(self.path, self.sha256, self.bytes)


def _check_entry(path: str, sha256: str, size: int) -> None:
    """Refuse entries outside the dataset's folder: a manifest from elsewhere may name anything."""
    if not is_inside_name(path):
        raise ValueError(f"{path!r} is not a path inside the dataset")
    if re.fullmatch("[0-9a-f]{64}", sha256) is None:
        raise ValueError(f"{path}: {sha256[:80]!r} is not a sha256")
    if size < 0:
        raise ValueError(f"{path} cannot hold {size} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`manifest.json`, written last: without it there is no dataset."""

    schema: str = _MANIFEST_FORM
    config: str
    """Digest of `settings` and of the versions of all stages."""
    settings: str
    """JSON text of the settings the dataset was built with."""
    clip_schema: str
    segments: str
    """Digest of the cut recordings in the shards: while it stays the same, nothing needs to be written."""
    recordings: int
    clips: int
    windows: int
    shards: tuple[ShardEntry, ...]
    files: tuple[FileEntry, ...]
    """clips.parquet and README.md."""


def is_shard_name(path: str) -> bool:
    """Whether a build names shards so: no other tar in a dataset's folder is a build's to remove."""
    return _SHARD.fullmatch(path) is not None


def promised_sizes(manifest: Manifest) -> dict[str, int]:
    """The size in bytes of every file in the manifest, by path."""
    shards = {entry.path: entry.bytes for entry in manifest.shards}
    return shards | {entry.path: entry.bytes for entry in manifest.files}


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTrack:
    """One file of a recording that consists of several on one clock."""

    uri: str
    speaker: str | None = None
    offset_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InputEntry:
    """One line of a JSONL input manifest: a recording and what is known about it."""

    uri: str
    """Path (relative to the manifest) or URL of the media; also the recording's name."""
    tracks: tuple[InputTrack, ...] = ()
    """The files of a recording with several that share a clock; then `uri` is only its name."""
    licence: str | None = None
    consent: str | None = None
    conversation: str | None = None
    speakers: tuple[str, ...] = ()
    """Named people, in channel order for `channels = "per_channel"`; they bind the split."""
    channels: str | None = None
    """`mix`, `per_channel` or `per_stream`; overrides the setting `ingest.channels`."""
    sidecars: tuple[str, ...] = ()
    """Annotation files to use instead of those found beside the media."""
