"""Copies of media that stand at a URL."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from corpus.schemas.codec import digest
from corpus.schemas.errors import MediaError, MissingDependencyError

BLOCK_BYTES = 1 << 20


def fetch(url: str, folder: Path) -> Path:
    """A local copy of the file at `url`, fetched once and kept under the digest of the URL.

    Raises:
        MediaError: the URL cannot be read.
        MissingDependencyError: its scheme needs a package that is not installed.
    """
    import fsspec

    name = PurePosixPath(urlsplit(url).path).name or "media"
    path = folder / digest(url)[:32] / name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.part")
    try:
        with fsspec.open(url, "rb") as source, open(temporary, "wb") as target:
            shutil.copyfileobj(source, target, BLOCK_BYTES)
            target.flush()
            os.fsync(target.fileno())
        temporary.rename(path)
    except (ImportError, ValueError) as error:
        raise MissingDependencyError(
            f"cannot open this kind of URL: {error}",
            where=url,
            todo="install what it names, or copy the file",
        ) from error
    except OSError as error:
        raise MediaError(f"the URL cannot be read: {error}", where=url) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
