"""Files of rows that a build keeps for itself: a row is copied unparsed for as long as it is true.

Arrow's file format, then a checksum of it: most of what a damaged file says would be believed.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import FormatError
from corpus.schemas.files import put_in_place, storage_errors, temporary

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

_CHECKSUM_BYTES = 4
_CHUNK = 1 << 20
_MOST_UNPACKED = 1 << 28
"""Bytes of one value."""


def read_row_file(path: Path, schema: pa.Schema) -> pa.Table:
    """The rows; none if the file is missing, damaged or of another form."""
    import pyarrow as pa

    try:
        # Not mapped: a file that is cut off meanwhile would end the process.
        content = memoryview(path.read_bytes())
        rows = content[:-_CHECKSUM_BYTES]
        if zlib.crc32(rows).to_bytes(_CHECKSUM_BYTES, "little") != content[len(rows) :]:
            return schema.empty_table()
        with pa.ipc.open_file(pa.py_buffer(rows)) as file:
            table = file.read_all()
        table.validate(full=True)
    except (OSError, ValueError):
        return schema.empty_table()
    return table if table.schema.equals(schema) else schema.empty_table()


def write_row_file(path: Path, table: pa.Table) -> None:
    """Replace the file by these rows: whole, or not at all."""
    import pyarrow as pa

    with storage_errors(path):
        with open(temporary(path), "w+b") as file:
            with pa.ipc.new_file(file, table.schema) as rows:
                rows.write_table(table)
            file.seek(0)
            checksum = 0
            while content := file.read(_CHUNK):
                checksum = zlib.crc32(content, checksum)
            file.write(checksum.to_bytes(_CHECKSUM_BYTES, "little"))
            file.flush()
            os.fsync(file.fileno())
        put_in_place(path)


def packed(value: object) -> bytes:
    """A value as a column holds it."""
    return zlib.compress(to_json(value).encode(), 1)


def unpacked(cls: type[T], content: bytes, where: Path) -> T:
    """The value.

    Raises:
        FormatError: it is damaged.
    """
    try:
        # Bounded: a few kilobytes of a stranger's may unpack to more than fits in memory.
        text = zlib.decompressobj().decompress(content, _MOST_UNPACKED)
        return from_json(cls, text, where=str(where))
    except (zlib.error, FormatError) as error:
        raise FormatError(
            f"is damaged: {error}", where=str(where), todo="remove this file and build again"
        ) from error
