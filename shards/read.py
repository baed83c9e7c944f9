"""Clips by index or key, from the tars in a folder or at a URL: nothing is read before it is used.

Needs numpy and pyarrow; PyAV only for sound, and simplejpeg, pillow or PyAV for pictures.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from corpus.schemas.clip import MEMBERS, ClipHead
from corpus.schemas.codec import from_json
from corpus.schemas.conversation import CUE_KINDS
from corpus.schemas.dataset import CLIPS_FILE, MANIFEST_FILE, Manifest, promised_sizes
from corpus.schemas.errors import DatasetError, FormatError
from corpus.schemas.files import inside
from corpus.schemas.urls import is_url
from corpus.shards.index import no_dataset, parsed_manifest, per_member, read_columns
from corpus.shards.npy import HEADER_BYTES, npy_shape, npy_view
from corpus.shards.shard_file import ShardFile, check_size
from corpus.shards.tar import BLOCK

if TYPE_CHECKING:
    import pyarrow as pa

    from corpus.shards.cue_windows import AnswerWindows, CueWindows
    from corpus.shards.far import FarClip, FarClips

__all__ = ["Clip", "Clips", "open_clips", "read_columns"]

_MOST_OPEN = 256
"""Shards open at a time."""
_COLUMNS = ("key", "shard", "member_offsets", "member_sizes")


def open_clips(path: Path | str, *, split: str | None = None, check: bool = False) -> Clips:
    """The clips of a dataset in a folder or at a URL, of one split or of all, in the order of its index.

    With `check`, each shard's digest is checked when it is first opened, so damage is reported before use.
    From a URL only the clips that are used are read, and each is checked against its own digest.

    Raises:
        DatasetError: there is no dataset, or its files do not have the sizes in its manifest.
        NewerSchemaError: the dataset was written by a newer version.
        StorageError: the URL cannot be read.
    """
    if isinstance(path, str) and is_url(path):
        from corpus.shards.far_index import open_far_index

        far = open_far_index(path, split)
        return Clips(far.shown, far.index, split, far.digest, sizes={}, hashes={}, far=far.clips)
    out = Path(path)
    manifest, digest = _manifest(out)
    sizes = promised_sizes(manifest)
    index = inside(out, CLIPS_FILE)
    check_size(index, sizes.get(index.name, -1))
    hashes = {shard.path: shard.sha256 for shard in manifest.shards} if check else {}
    return Clips(out, index, split, digest, sizes=sizes, hashes=hashes)


def _manifest(out: Path) -> tuple[Manifest, str]:
    """The manifest and its sha256."""
    path = inside(out, MANIFEST_FILE)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise no_dataset(str(out)) from error
    return parsed_manifest(text, str(out)), hashlib.sha256(text).hexdigest()


class Clips(Sequence["Clip"]):
    """The clips of a dataset. May be passed to worker processes, each of which opens the files itself."""

    def __init__(
        self,
        out: Path | str,
        index: Path,
        split: str | None,
        digest: str,
        *,
        sizes: dict[str, int],
        hashes: dict[str, str],
        far: FarClips | None = None,
    ) -> None:
        table = read_columns(index, split, _COLUMNS)
        self.path = out
        """A folder, or a URL without credentials."""
        self.index_file = index
        """clips.parquet on this machine."""
        self.split = split
        self.digest = digest
        """sha256 of the manifest, which holds that of every shard."""
        self._hashes = hashes
        self._sizes = sizes
        self._far = far
        self._keys = table["key"].combine_chunks()
        # Arrow columns, not Python lists: a million clips take megabytes, and forked workers share them.
        self._shards = table["shard"].combine_chunks().dictionary_encode()
        self._offsets = per_member(table["member_offsets"])
        self._member_sizes = per_member(table["member_sizes"])
        self._files: OrderedDict[str, ShardFile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int | str) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> list[Clip]: ...

    def __getitem__(self, index: int | str | slice) -> Clip | list[Clip]:
        """A clip by position or key; KeyError or IndexError if it does not exist."""
        if isinstance(index, slice):
            return [self._clip(i) for i in range(*index.indices(len(self)))]
        if isinstance(index, str):
            return self._clip(self._places[index])
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        return self._clip(place)

    def __iter__(self) -> Iterator[Clip]:
        return (self._clip(place) for place in range(len(self)))

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def keys(self) -> list[str]:
        keys: list[str] = self._keys.to_pylist()
        return keys

    def find(self, name: str) -> Clip:
        """A clip by its key, its recording's file name, or the beginning of one.

        `talk.mp4@1:23` is the clip of that recording that contains the time; without a time, the first one.

        Raises:
            UsageError: no clip, or more than one, has this name.
        """
        from corpus.shards.find import place_of

        return self[place_of(name, self.keys(), self.columns, str(self.path))]

    def columns(self, *names: str) -> pa.Table:
        """Columns of the index in the order of the clips; all of them if none is named."""
        return read_columns(self.index_file, self.split, names)

    @cached_property
    def speakers(self) -> npt.NDArray[np.int64]:
        """How many speakers each clip has."""
        import pyarrow.compute as pc

        counts = pc.list_value_length(self.columns("speakers")["speakers"])
        return np.asarray(counts.to_numpy(), np.int64)

    @cached_property
    def pictures(self) -> npt.NDArray[np.int64]:
        """How many windows of each clip have a picture."""
        return np.asarray(self.columns("pictures")["pictures"].to_numpy(), np.int64)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key: place for place, key in enumerate(self.keys())}

    def _clip(self, place: int) -> Clip:
        shard: str = self._shards[place].as_py()
        offsets, data = self._offsets[place], self._data(place, shard)
        if self._far is not None:
            offsets = offsets - self._far.offset(place)
        return Clip(
            self._keys[place].as_py(),
            data,
            offsets.tolist(),
            self._member_sizes[place].tolist(),
            f"{self.path}/{shard}",
        )

    def _data(self, place: int, shard: str) -> ShardFile | FarClip:
        if self._far is None:
            return self._open(shard)
        from corpus.shards.far import FarClip

        return FarClip(self._far, place)

    def _open(self, shard: str) -> ShardFile:
        file = self._files.get(shard)
        if file is None:
            if shard not in self._sizes:
                todo = "copy the dataset again, or run corpus build again"
                what = f"clips.parquet names {shard[:100]!r}, which manifest.json does not list"
                raise DatasetError(what, where=str(self.path), todo=todo)
            file = ShardFile(inside(Path(self.path), shard), self._sizes[shard], self._hashes.get(shard))
            self._files[shard] = file
            if len(self._files) > _MOST_OPEN:
                # Least recently used first; clips that are still held keep their file open.
                self._files.popitem(last=False)
            self._hashes.pop(shard, None)  # once is enough
        else:
            self._files.move_to_end(shard)
        return file

    def __getstate__(self) -> dict[str, Any]:
        # An open file cannot be pickled.
        return {**self.__dict__, "_files": OrderedDict()}


class Clip:
    """One clip. Each call reads from the file: keep arrays that you need again."""

    __slots__ = ("_data", "_head", "_jpegs", "_offsets", "_sizes", "_where", "key")

    def __init__(
        self,
        key: str,
        data: _Members | ShardFile | FarClip,
        offsets: Sequence[int],
        sizes: Sequence[int],
        where: str,
    ) -> None:
        self.key = key
        self._data = data
        self._offsets = offsets
        self._sizes = sizes
        self._where = where
        self._head: ClipHead | None = None
        self._jpegs: npt.NDArray[np.int64] | None = None

    @classmethod
    def of_members(cls, key: str, members: Sequence[bytes], *, where: str = "") -> Clip:
        """A clip of its five members' bytes, in the order of `MEMBERS`."""
        sizes = [len(member) for member in members]
        # A block before the first member, as in a tar: `member` refuses offsets below one.
        offsets = [BLOCK + sum(sizes[:place]) for place in range(len(sizes))]
        return cls(key, _Members(b"".join((bytes(BLOCK), *members))), offsets, sizes, where)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as a copy of its members."""
        return _clip_of, (self.key, tuple(bytes(self.member(name)) for name in MEMBERS), self._where)

    def __repr__(self) -> str:
        return f"Clip({self.key!r}, {sum(self._sizes)} bytes)"

    def member(self, name: str) -> memoryview:
        """The bytes of a member (`json`, `flac`, `mel.npy`, `activity.npy`, `mjpeg`)."""
        start, stop = self._bounds(name)
        return self._data.read(start, stop)

    def _bounds(self, name: str) -> tuple[int, int]:
        """Where a member begins and ends in its file."""
        place = MEMBERS.index(name)
        start, size = self._offsets[place], self._sizes[place]
        if start < BLOCK or size < 0 or start + size > self._data.size:
            raise FormatError(f"member {name} of {self.key} lies outside the shard", where=self._where)
        return start, start + size

    @property
    def json_bytes(self) -> bytes:
        return bytes(self.member("json"))

    @property
    def json(self) -> ClipHead:
        """The clip's head: what it is and what happens in it; parsed once."""
        if self._head is None:
            self._head = from_json(ClipHead, self.json_bytes, where=f"{self._where}: {self.key}.json")
        return self._head

    def audio(self) -> npt.NDArray[np.int16]:
        """int16 `[channels, samples]`: the speakers in order, then the room; their sum is the mix."""
        from corpus.shards.flac import decode_flac

        return decode_flac(self.member("flac"), where=f"{self._where}: {self.key}.flac")

    def audio_end(self, samples: int) -> npt.NDArray[np.int16]:
        """The last samples of `audio()`; reads little more than them."""
        from corpus.shards.flac import decode_flac_end

        return decode_flac_end(self.member("flac"), samples, where=f"{self._where}: {self.key}.flac")

    def mel(self) -> npt.NDArray[np.uint8]:
        """uint8 `[channels, windows, frames, bins]`, read-only; `>> 4` is dMel."""
        return self._array("mel.npy", 4)

    def activity(self) -> npt.NDArray[np.uint8]:
        """uint8 flags `[channels, windows, frames]`, read-only; bits as in `schemas.activity`."""
        return self._array("activity.npy", 3)

    def mel_shape(self) -> tuple[int, ...]:
        """The shape of `mel()`, read without it."""
        start, stop = self._bounds("mel.npy")
        header = self._data.read(start, min(stop, start + HEADER_BYTES))
        return npy_shape(header, stop - start, where=f"{self._where}: {self.key}.mel.npy")

    def _array(self, name: str, dimensions: int) -> npt.NDArray[np.uint8]:
        where = f"{self._where}: {self.key}.{name}"
        array = npy_view(self.member(name), where=where)
        if array.ndim != dimensions:
            raise FormatError(f"has {array.ndim} dimensions, must have {dimensions}", where=where)
        return array

    def cues_by_window(self, labels: Sequence[str] = tuple(CUE_KINDS)) -> CueWindows:
        """bool `[windows, labels, speakers + 1]`: whether a cue begins in the window, or overlaps it."""
        from corpus.shards.cue_windows import cues_by_window

        return cues_by_window(self.json, labels)

    def answers(self) -> AnswerWindows:
        """bool `[windows, speakers + 1]`: whether an answer by the speaker is timely, or silence is right."""
        from corpus.shards.cue_windows import answers_by_window

        return answers_by_window(self.json)

    def jpeg(self, window: int) -> bytes | None:
        """The JPEG of a window of the clip, counted from 0; None if it has no picture."""
        places = self._jpeg_places()
        if not 0 <= window < len(places):
            raise IndexError(f"window {window} of {len(places)}")
        at, size = places[window].tolist()
        if not size:
            return None
        start, stop = self._bounds("mjpeg")
        return bytes(self._data.read(min(start + at, stop), min(start + at + size, stop)))

    def _jpeg_places(self) -> npt.NDArray[np.int64]:
        """Where each window's JPEG starts and its size, `[windows, 2]`; read without the rest of the head."""
        if self._jpegs is None:
            where = f"{self._where}: {self.key}.json"
            try:
                head = json.loads(self.json_bytes)
                none = {"offsets": [0] * head["windows"], "sizes": [0] * head["windows"]}
                video = none if head["video"] is None else head["video"]
                places = np.array([video["offsets"], video["sizes"]], np.int64).T
            except (KeyError, TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
                raise FormatError(f"the head cannot be read: {error}", where=where) from error
            # Windows without a picture have offset -1.
            shown = places[:, 1] != 0
            if places.shape != (head["windows"], 2) or (places[shown] < 0).any():
                raise FormatError("the pictures listed do not match the windows", where=where)
            self._jpegs = places
        return self._jpegs

    def picture(
        self, window: int, *, into: npt.NDArray[np.uint8] | None = None
    ) -> npt.NDArray[np.uint8] | None:
        """uint8 `[height, width, 3]`, RGB; None without a picture. The result may use `into`."""
        data = self.jpeg(window)
        if data is None:
            return None
        from corpus.shards.jpeg import decode_jpeg

        return decode_jpeg(data, where=f"{self._where}: {self.key}, window {window}", into=into)


class _Members:
    """Members that are in memory."""

    __slots__ = ("_view", "size")

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self.size = len(data)

    def read(self, start: int, stop: int) -> memoryview:
        return self._view[start:stop]


def _clip_of(key: str, members: tuple[bytes, ...], where: str) -> Clip:
    return Clip.of_members(key, members, where=where)
