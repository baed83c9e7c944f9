"""Turning the inputs a user names into a list of recordings to build, and Drops for what cannot be built."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from corpus.ingest.names import is_media_name
from corpus.pipeline.folders import fault, file_at, utf8, walk
from corpus.pipeline.items import Found, Item, ItemFile, Items, without_doubles
from corpus.schemas.codec import from_plain
from corpus.schemas.dataset import InputEntry
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError, UsageError
from corpus.schemas.urls import is_url, public_url, told


def gather(inputs: Sequence[str], local_urls: Sequence[str] = ()) -> tuple[Items, list[Drop]]:
    """The items in files, folders, globs, URLs and JSONL manifests, in order of their uri.

    URLs in a manifest may reach this machine or its network only if the manifest is in `local_urls`.

    Raises:
        UsageError: no input given, a named path does not exist, or a manifest cannot be read.
    """
    if not inputs:
        raise UsageError("no input given", todo="name files, folders, globs, URLs or a .jsonl")
    entries: list[Item | Found] = []
    drops: list[Drop] = []
    for text in inputs:
        for one in _expand(text, text in local_urls):
            if isinstance(one, Drop):
                drops.append(one)
            else:
                entries.append(one)
    # A folder names no file twice.
    once = len(inputs) == 1 and os.path.isdir(inputs[0])
    return Items.distinct(entries if once else without_doubles(entries)), drops


def refuse_missing(text: str) -> None:
    """Refuse an input that does not exist.

    Raises:
        UsageError: there is no such file, folder, or file that matches.
    """
    if not (is_url(text) or _exists(Path(text)) or glob.has_magic(text)):
        raise UsageError("no such file or folder", where=text, todo="check the path")


def _expand(text: str, allow_local: bool) -> Iterator[Item | Found | Drop]:
    if is_url(text):
        shown = public_url(text)
        yield Item(uri=shown, files=(ItemFile(place=text, uri=shown),))
        return
    path = Path(text)
    if os.path.isdir(path):  # pathlib's own raise where a name is too long
        yield from walk(path)
    elif path.suffix == ".jsonl" and os.path.isfile(path):
        yield from _read_manifest(path, allow_local)
    elif _exists(path):
        yield file_at(os.path.abspath(path), path.name)
    else:
        refuse_missing(text)
        yield from _glob(text)


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _glob(pattern: str) -> Iterator[Found | Drop]:
    names = sorted(glob.glob(pattern, recursive=True))
    if not names:
        raise UsageError("nothing matches the pattern", where=pattern)
    for name in names:
        path = Path(name)
        if os.path.isdir(path):
            yield from walk(path)
        elif is_media_name(path.name):
            yield file_at(os.path.abspath(path), path.name)


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
        where = f"{utf8(path.name)}:{number}"
        try:
            plain = json.loads(line.decode())
            json.dumps(plain, ensure_ascii=False).encode()  # "\\udcff" is JSON, but no text
            entry = from_plain(InputEntry, plain, where=where)
            yield from _entry(entry, path.parent, allow_local)
        except (CorpusError, ValueError, RecursionError) as error:
            yield fault(where, "bad_manifest_line", f"the line is no input entry: {told(str(error))}")


def _entry(entry: InputEntry, base: Path, allow_local: bool) -> Iterator[Item | Drop]:
    if entry.channels not in (None, "mix", "per_channel", "per_stream"):
        yield fault(
            public_url(entry.uri),
            "bad_manifest_line",
            f"channels = {entry.channels!r} is not mix, per_channel or per_stream",
        )
        return
    shown = public_url(entry.uri)
    if any(map(is_url, entry.sidecars)):
        reason = "sidecars are files on this machine, not URLs; fetch them first"
        yield fault(shown, "bad_manifest_line", reason)
        return
    tracks = [(t.uri, t.speaker, t.offset_us) for t in entry.tracks] or [(entry.uri, None, 0)]
    files = []
    for uri, speaker, offset_us in tracks:
        if not is_url(uri):
            there = file_at(os.path.join(os.path.abspath(base), uri), uri)
            if isinstance(there, Drop):
                yield replace(there, item=shown)
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
