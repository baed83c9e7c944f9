"""Turning the inputs a user names into a list of recordings to build, and Drops for what cannot be built."""

from __future__ import annotations

import glob
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corpus.ingest.names import is_media_name, suffix_of
from corpus.schemas.codec import from_plain
from corpus.schemas.dataset import InputEntry
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError, UsageError
from corpus.schemas.urls import is_url, public_url, told

SIDECAR_SUFFIXES = frozenset(
    ".rttm .stm .ctm .json .gz .jsonl .txt .md .csv .tsv .srt .vtt .textgrid .eaf .toml .yaml .yml "
    ".jpg .jpeg .png .pdf .log .html .xml .uem .lab".split()
)
"""Files in a folder that are plainly not media: skipped silently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFile:
    """One media file of an item, on this machine or at a URL."""

    place: str
    """Absolute path, or URL."""
    uri: str
    speaker: str | None = None
    offset_us: int = 0
    guarded: bool = False
    """A URL named in a manifest: it may not reach this machine or its network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One recording to build, as requested."""

    uri: str
    files: tuple[ItemFile, ...]
    licence: str | None = None
    consent: str | None = None
    conversation: str | None = None
    speakers: tuple[str, ...] = ()
    channels: str | None = None
    sidecars: tuple[str, ...] | None = None
    """Absolute paths; None to look beside the media file."""


def gather(inputs: Sequence[str], local_urls: Sequence[str] = ()) -> tuple[list[Item], list[Drop]]:
    """The items in files, folders, globs, URLs and JSONL manifests, in order of their uri.

    URLs in a manifest may reach this machine or its network only if the manifest is in `local_urls`.

    Raises:
        UsageError: no input given, a named path does not exist, or a manifest cannot be read.
    """
    if not inputs:
        raise UsageError("no input given", todo="name files, folders, globs, URLs or a .jsonl")
    items: list[Item] = []
    drops: list[Drop] = []
    for text in inputs:
        for item in _expand(text, text in local_urls):
            if isinstance(item, Drop):
                drops.append(item)
            else:
                items.append(item)
    # The same file named twice, by a glob and a folder say, is one item.
    unique = {(item.files, item.sidecars): item for item in items}
    return _distinct_uris(unique.values()), drops


def _distinct_uris(items: Iterable[Item]) -> list[Item]:
    """Make uris unique: later recordings (by path) with the same uri get `#2`, `#3` … appended."""
    ordered = sorted(items, key=lambda item: (item.uri, [f.place for f in item.files]))
    seen: Counter[str] = Counter()
    result = []
    for item in ordered:
        seen[item.uri] += 1
        if seen[item.uri] > 1:
            item = replace(item, uri=f"{item.uri}#{seen[item.uri]}")
        result.append(item)
    return result


def _expand(text: str, allow_local: bool) -> Iterator[Item | Drop]:
    if is_url(text):
        yield _single(text, public_url(text))
        return
    path = Path(text)
    if os.path.isdir(path):  # pathlib's own raise where a name is too long
        yield from _walk(path)
    elif path.suffix == ".jsonl" and os.path.isfile(path):
        yield from _read_manifest(path, allow_local)
    elif _exists(path):
        yield from _file(os.path.abspath(path), path.name)
    elif glob.has_magic(text):
        yield from _glob(text)
    else:
        raise UsageError("no such file or folder", where=text, todo="check the path")


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _glob(pattern: str) -> Iterator[Item | Drop]:
    names = sorted(glob.glob(pattern, recursive=True))
    if not names:
        raise UsageError("nothing matches the pattern", where=pattern)
    for name in names:
        path = Path(name)
        if os.path.isdir(path):
            yield from _walk(path)
        elif is_media_name(path.name):
            yield from _file(os.path.abspath(path), path.name)


def _walk(root: Path) -> Iterator[Item | Drop]:
    """The media files below a folder. Hidden files and folders are skipped."""
    count, top = 0, os.path.abspath(root)
    # Texts, not paths: there may be a million files.
    for folder, names, files in os.walk(top, onerror=None):
        # In place: os.walk descends into what is left.
        names[:] = sorted(n for n in names if not n.startswith("."))
        below = "" if folder == top else os.path.relpath(folder, top) + "/"
        here = os.path.join(folder, "")
        for name in names:
            if is_media_name(name):
                yield Drop(
                    item=below + name,
                    stage="input",
                    kind="trim",
                    code="folder_named_like_media",
                    reason=f"{name!r} is a folder; the media files in it are taken one by one",
                )
        if not os.access(folder, os.R_OK | os.X_OK):
            yield _fault(below.removesuffix("/") or ".", "unreadable", "the folder cannot be read")
        for name in sorted(files):
            suffix = suffix_of(name)
            if name.startswith(".") or suffix in SIDECAR_SUFFIXES:
                continue
            if is_media_name(name):
                count += 1
                yield from _file(here + name, below + name)
            else:
                yield Drop(
                    item=below + name,
                    stage="input",
                    kind="trim",
                    code="not_media_by_name",
                    reason=f"{suffix or 'no suffix'} is not a media suffix; name the file itself to try it",
                )
    if not count:
        yield Drop(
            item=root.name or str(root),
            stage="input",
            kind="trim",
            code="empty_folder",
            reason="the folder holds no media file",
        )


def _fault(uri: str, code: str, reason: str) -> Drop:
    return Drop(item=uri, stage="input", kind="fault", code=code, reason=reason)


def _file(place: str, uri: str) -> Iterator[Item | Drop]:
    """The file at an absolute path."""
    problem = _unfit(place)
    if problem:
        yield _fault(_utf8(uri), *problem)
    else:
        yield _single(place, uri)


def _utf8(text: str) -> str:
    """The text with bytes that are not UTF-8, which a file name may contain, written as escapes."""
    if text.isascii():
        return text
    return text.encode(errors="backslashreplace").decode()


def _unfit(place: str) -> tuple[str, str] | None:
    """Why an absolute path cannot be opened as a file, found without opening it: a FIFO would block."""
    if _utf8(place) != place:
        return (
            "name_not_utf8",
            "the name or a folder's name is not UTF-8, which a dataset could not hold; rename it",
        )
    try:
        mode = os.stat(place).st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        return "unreadable", f"the file cannot be reached: {reason}"
    if stat.S_ISDIR(mode):
        return "not_a_file", "this is a folder, not a file; name a media file"
    if not stat.S_ISREG(mode):
        return "not_a_file", "this is a pipe, socket or device, not a file; copy its content to a file"
    if not os.access(place, os.R_OK):
        return "unreadable", "the file may not be read; change its permissions"
    return None


def _single(place: str, uri: str) -> Item:
    return Item(uri=uri, files=(ItemFile(place=place, uri=uri),))


def _read_manifest(path: Path, allow_local: bool = False) -> Iterator[Item | Drop]:
    """The items of a JSONL manifest: one `InputEntry` per line. A bad line becomes a Drop that names it."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise UsageError(f"the manifest cannot be read: {error.strerror}", where=str(path)) from error
    if not any(line.strip() for line in lines):
        reason = "the manifest holds no line"
        yield Drop(item=path.name, stage="input", kind="trim", code="empty_manifest", reason=reason)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{_utf8(path.name)}:{number}"
        try:
            plain = json.loads(line.decode())
            json.dumps(plain, ensure_ascii=False).encode()  # "\\udcff" is JSON, but no text
            entry = from_plain(InputEntry, plain, where=where)
            yield from _entry(entry, path.parent, allow_local)
        except (CorpusError, ValueError, RecursionError) as error:
            yield _fault(where, "bad_manifest_line", f"the line is no input entry: {told(str(error))}")


def _entry(entry: InputEntry, base: Path, allow_local: bool) -> Iterator[Item | Drop]:
    if entry.channels not in (None, "mix", "per_channel", "per_stream"):
        yield _fault(
            public_url(entry.uri),
            "bad_manifest_line",
            f"channels = {entry.channels!r} is not mix, per_channel or per_stream",
        )
        return
    shown = public_url(entry.uri)
    if any(map(is_url, entry.sidecars)):
        reason = "sidecars are files on this machine, not URLs; fetch them first"
        yield _fault(shown, "bad_manifest_line", reason)
        return
    tracks = [(t.uri, t.speaker, t.offset_us) for t in entry.tracks] or [(entry.uri, None, 0)]
    files = []
    for uri, speaker, offset_us in tracks:
        if not is_url(uri):
            problem = _unfit(os.path.join(os.path.abspath(base), uri))
            if problem:
                yield _fault(shown, *problem)
                return
        place = uri if is_url(uri) else os.path.abspath(base / uri)
        guarded = is_url(uri) and not allow_local
        shown_file = public_url(uri)
        files.append(
            ItemFile(place=place, uri=shown_file, speaker=speaker, offset_us=offset_us, guarded=guarded)
        )
    yield Item(
        uri=shown,
        files=tuple(files),
        licence=entry.licence,
        consent=entry.consent,
        conversation=entry.conversation,
        speakers=entry.speakers,
        channels=entry.channels,
        sidecars=tuple(os.path.abspath(base / s) for s in entry.sidecars) or None,
    )
