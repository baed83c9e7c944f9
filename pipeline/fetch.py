"""Downloading media from URLs."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from corpus.pipeline.local_urls import (
    STORES,
    WEB,
    is_public_host,
    patient_client,
    public_client,
    refusal,
    refuse_local,
)
from corpus.schemas.codec import digest
from corpus.schemas.errors import MediaError, StorageError
from corpus.schemas.files import sha256_file, storage_errors
from corpus.schemas.store import UrlStore
from corpus.schemas.urls import public_url, told

BLOCK_BYTES = 1 << 20
LONGEST_NAME = 100
"""Bytes."""
LOCAL_SCHEMES = ("file", "local")


def fetch(url: str, folder: Path, *, guarded: bool = False) -> Path:
    """A local copy of the file at `url`, downloaded once and stored under the digest of the URL.

    `guarded` URLs cannot reach anything local. The copy's own digest is stored beside it: a copy damaged on
    disk is downloaded again.

    Raises:
        MediaError: the URL cannot be read to its announced end.
        StorageError: there is no room for the copy.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise MediaError(f"not a valid URL: {told(str(error), url)}", where=public_url(url)) from error
    if guarded:
        refuse_local(url)
    if parts.scheme in STORES and parts.path.endswith("/"):
        todo = "name its files, for example in a .jsonl manifest"
        raise MediaError("is a folder; a URL names one file", where=public_url(url), todo=todo)
    # Opening a pipe or a device would block for ever.
    if parts.scheme in LOCAL_SCHEMES and not os.path.isfile(unquote(parts.netloc + parts.path)):
        raise MediaError(
            "the URL does not lead to a file (nothing, a folder, a pipe or a device)", where=public_url(url)
        )
    path = folder / digest([url, "guarded"] if guarded else url)[:32] / _name(parts.path)
    kept = path.parent / "sha256"
    with storage_errors(path):
        if path.is_file() and kept.is_file() and kept.read_text("ascii", "replace") == sha256_file(path):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two builds may fetch the same URL into a shared cache: each writes its own file, the last one wins.
        own = secrets.token_hex(8)  # no pid: two containers that share a cache may have the same
        temporary, own_digest = path.parent / f".{own}.part", path.parent / f".{own}.sha256"
        try:
            hasher = hashlib.sha256()
            with open(temporary, "wb") as target:
                for block in _blocks(url, guarded):
                    hasher.update(block)
                    target.write(block)
                target.flush()
                os.fsync(target.fileno())
            # First without a digest, then the file, then its digest: any interruption means "fetch again".
            kept.unlink(missing_ok=True)
            temporary.rename(path)
            own_digest.write_text(hasher.hexdigest())
            own_digest.replace(kept)
        finally:
            temporary.unlink(missing_ok=True)
            own_digest.unlink(missing_ok=True)
    return path


def _name(path: str) -> str:
    """The last part of a URL's path, no longer than a file system allows."""
    name = (
        PurePosixPath(path)
        .name.replace("\0", "")
        .encode(errors="replace")[-LONGEST_NAME:]
        .decode(errors="ignore")
    )
    return "media" if name in ("", ".", "..", "sha256") else name


def _opened(url: str, guarded: bool) -> Any:
    """Open a file for reading. A URL of a public host never leads to anything local."""
    import fsspec

    parts = urlsplit(url)
    if parts.scheme not in WEB:
        return fsspec.open(url, "rb")
    public = guarded or is_public_host(parts.hostname or "")
    options = {"get_client": public_client if public else patient_client, "skip_instance_cache": public}
    # Not fsspec.open: it takes the `::` of an IPv6 address for its own.
    return fsspec.filesystem(parts.scheme, **options).open(url, "rb")


def _reason(error: Exception, url: str) -> str:
    """What a library's error means."""
    said = told(str(error), url)
    if isinstance(error, FileNotFoundError):
        return f"there is no such file ({said})"
    if urlsplit(url).scheme in STORES and getattr(error, "errno", None) in (errno.EACCES, errno.EINVAL):
        # Libraries ask for the size first, and to that an object store answers with a bare number.
        try:
            UrlStore(url).open_range("", 0, 1)
        except StorageError as refused:
            return f"{refused.what}; {refused.todo}"
        except FileNotFoundError:
            return "there is no such file"
    return said or type(error).__name__


def _blocks(url: str, guarded: bool) -> Iterator[bytes]:
    """The content at the URL. Each scheme's library has its own exceptions; all count as the URL's fault."""
    try:
        with _opened(url, guarded) as source:
            announced = getattr(source, "size", None)
            count = 0
            while block := source.read(BLOCK_BYTES):
                count += len(block)
                yield block
    except GeneratorExit:
        raise
    except Exception as error:
        reason = refusal(error) or _reason(error, url)
        raise MediaError(f"the URL cannot be read: {reason}", where=public_url(url)) from error
    if announced is not None and count != announced:
        raise MediaError(
            f"the transfer ended after {count} of {announced} bytes", where=public_url(url), todo="try again"
        )
