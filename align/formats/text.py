"""Text files of other tools: UTF-8 or UTF-16, any line ends."""

from __future__ import annotations

import codecs
from pathlib import Path

from corpus.align.parsing import read_bytes
from corpus.schemas.errors import SidecarError


def read_text(path: Path) -> str:
    """The file's text with plain line ends.

    Raises:
        SidecarError: it is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    data = read_bytes(path)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        todo = "save it as UTF-8"
        raise SidecarError("is neither UTF-8 nor UTF-16", where=path.name, todo=todo) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
