"""The media files in folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from corpus.ingest.names import MEDIA_SUFFIXES, suffix_of
from corpus.pipeline.items import Found
from corpus.schemas.drops import Drop

SIDECAR_SUFFIXES = frozenset(
    ".rttm .stm .ctm .json .gz .jsonl .txt .md .csv .tsv .srt .vtt .textgrid .eaf .toml .yaml .yml "
    ".jpg .jpeg .png .pdf .log .html .xml .uem .lab".split()
)
"""Files in a folder that are plainly not media: skipped silently."""


def walk(root: Path) -> Iterator[Found | Drop]:
    """The media files below a folder. Hidden files and folders are skipped."""
    count, waiting = 0, [(os.path.abspath(root), "")]
    # Texts, not paths, and one look at each file: there may be a million.
    while waiting:
        folder, below = waiting.pop()
        names, files = _listed(folder)
        for entry in names:
            if suffix_of(entry.name) in MEDIA_SUFFIXES:
                reason = f"{entry.name!r} is a folder; the media files in it are taken one by one"
                yield _left_out(below + entry.name, "folder_named_like_media", reason)
        if not os.access(folder, os.R_OK | os.X_OK):
            yield fault(below.removesuffix("/") or ".", "unreadable", "the folder cannot be read")
        files.reverse()
        while files:  # each is forgotten once it is looked at
            entry = files.pop()
            name = entry.name
            suffix = suffix_of(name)
            if suffix in SIDECAR_SUFFIXES:
                continue
            if suffix in MEDIA_SUFFIXES:
                count += 1
                yield _in_folder(entry, below + name)
            else:
                reason = f"{suffix or 'no suffix'} is not a media suffix; name the file itself to try it"
                yield _left_out(below + name, "not_media_by_name", reason)
        # The first is taken next.
        waiting += [
            (entry.path, f"{below}{entry.name}/") for entry in reversed(names) if not entry.is_symlink()
        ]
    if not count:
        yield _left_out(root.name or str(root), "empty_folder", "the folder holds no media file")


def _listed(folder: str) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    """The folders and files in a folder, in order of their names; none if it cannot be read."""
    names: list[os.DirEntry[str]] = []
    files: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (names if _is_folder(entry) else files).append(entry)
    except OSError:
        return [], []
    return sorted(names, key=attrgetter("name")), sorted(files, key=attrgetter("name"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _in_folder(entry: os.DirEntry[str], uri: str) -> Found | Drop:
    """As `file_at`, of a listed file, which may be looked at more cheaply."""
    place = entry.path
    if place.isascii():
        try:
            look = entry.stat()
        except OSError:
            return file_at(place, uri)
        if stat.S_ISREG(look.st_mode):
            return Found(uri, place, look.st_size, look.st_mtime_ns)
    return file_at(place, uri)


def file_at(place: str, uri: str) -> Found | Drop:
    """The file at an absolute path, or why it cannot be opened, learnt without opening it: a FIFO would
    block."""
    shown = utf8(uri)
    if utf8(place) != place:
        reason = "the name or a folder's name is not UTF-8, which a dataset could not hold; rename it"
        return fault(shown, "name_not_utf8", reason)
    try:
        look = os.stat(place)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        return fault(shown, "unreadable", f"the file cannot be reached: {reason}")
    if stat.S_ISDIR(look.st_mode):
        return fault(shown, "not_a_file", "this is a folder, not a file; name a media file")
    if not stat.S_ISREG(look.st_mode):
        reason = "this is a pipe, socket or device, not a file; copy its content to a file"
        return fault(shown, "not_a_file", reason)
    if not os.access(place, os.R_OK):
        return fault(shown, "unreadable", "the file may not be read; change its permissions")
    return Found(uri, place, look.st_size, look.st_mtime_ns)


def fault(uri: str, code: str, reason: str) -> Drop:
    return Drop(item=uri, stage="input", kind="fault", code=code, reason=reason)


def _left_out(uri: str, code: str, reason: str) -> Drop:
    return Drop(item=uri, stage="input", kind="trim", code=code, reason=reason)


def utf8(text: str) -> str:
    """The text with bytes that are not UTF-8, which a file name may contain, written as escapes."""
    if text.isascii():
        return text
    return text.encode(errors="backslashreplace").decode()
